// A bulk that goes on by itself: its form is sent again and again, each time one step, until it is done or somebody stops
// it. Without a script each step is a press of the button.

export function bulk() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-bulk]"));
  if (!form) return;
  const go = /** @type {HTMLButtonElement} */ (form.querySelector("[data-go]"));
  const stop = /** @type {HTMLButtonElement} */ (form.querySelector("[data-stop]"));
  const says = /** @type {HTMLElement} */ (form.querySelector("[data-says]"));
  const bar = /** @type {HTMLProgressElement} */ (form.querySelector("progress"));
  let going = false;

  /** @param {boolean} on */
  function turn(on) {
    going = on;
    go.disabled = on;
    stop.hidden = !on;
    if (!on) go.textContent = "Go on";
  }

  /** One step; true when another follows. */
  async function step() {
    const body = new URLSearchParams(/** @type {any} */ (new FormData(form ?? undefined)));
    const answer = await fetch(/** @type {HTMLFormElement} */ (form).action, {
      method: "POST",
      headers: { accept: "application/json" },
      body,
    });
    if (!answer.ok) throw new Error(`the dashboard answered ${answer.status}`);
    const now = await answer.json();
    /** @type {HTMLInputElement} */ (form?.elements.namedItem("place")).value = now.place;
    says.textContent = now.says;
    bar.hidden = false;
    if (now.done) {
      bar.max = bar.value = 1;
      go.hidden = true;
    } else if (Number(bar.dataset.of)) {
      bar.max = Math.max(Number(bar.dataset.of), now.changed);
      bar.value = now.changed;
    }
    return !now.done;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (going) return;
    turn(true);
    try {
      while (going && (await step()));
    } catch (error) {
      says.textContent = `It stopped: ${error instanceof Error ? error.message : error}. Nothing is lost; go on when you like.`;
    }
    turn(false);
  });
  stop.addEventListener("click", () => {
    going = false;
    stop.hidden = true;
  });
}
