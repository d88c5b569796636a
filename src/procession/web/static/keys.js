// Single keys, outside of fields only, and they can be switched off (WCAG 2.1.4).

const PAGES = { o: "/", j: "/jobs", n: "/names", q: "/queues", e: "/errors", s: "/schedules", w: "/workers" };
const OFF = "procession-keys-off";

/** @param {() => void} togglePause */
export function keys(togglePause) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
  const off = /** @type {HTMLInputElement} */ (document.getElementById("keys-off"));
  const help = /** @type {HTMLButtonElement} */ (document.getElementById("help"));
  off.checked = localStorage.getItem(OFF) === "1";
  off.addEventListener("change", () => localStorage.setItem(OFF, off.checked ? "1" : "0"));
  help.hidden = false;
  help.addEventListener("click", () => dialog.showModal());
  let going = 0;

  document.addEventListener("keydown", (event) => {
    const inside = /** @type {Element} */ (event.target).closest("input:not([type=checkbox]), textarea, select, dialog");
    if (inside || off.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key;
    if (Date.now() - going < 1000 && key in PAGES) {
      location.href = document.body.dataset.base + PAGES[/** @type {keyof PAGES} */ (key)];
      return;
    }
    going = key === "g" ? Date.now() : 0;
    if (key === "/") {
      event.preventDefault();
      document.getElementById("find")?.focus();
    } else if (key === "?") dialog.showModal();
    else if (key === "p") togglePause();
    else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
    else if (key === "x") row()?.querySelector("input")?.click();
  });
}

const row = () => document.activeElement?.closest("[data-row]");

/** @param {1 | -1} way */
function step(way) {
  const all = [...document.querySelectorAll("[data-row]")];
  const here = row();
  const next = all[here ? all.indexOf(here) + way : 0];
  /** @type {HTMLElement | null | undefined} */ (next?.querySelector("[data-open]"))?.focus();
}
