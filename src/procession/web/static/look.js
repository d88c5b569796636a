// A search that found nothing in its first look goes on by itself, look after look, until it finds a job, all was looked
// at, or somebody stops it. It stands where the link of the page leads to, which is a look at a time without a script.

const REST = 10; // after a look it rests for so many times as long, so that the store has time for others
const BLINK = 100; // and so many milliseconds at least

/** @param {() => boolean} isPaused */
export function look(isPaused) {
  const looked = /** @type {HTMLElement | null} */ (document.querySelector("[data-looked]"));
  const next = /** @type {HTMLAnchorElement | null} */ (document.querySelector("a[rel=next]"));
  if (looked && next) void goOn(looked, next, isPaused);
}

/** @param {HTMLElement} looked @param {HTMLAnchorElement} next @param {() => boolean} isPaused */
async function goOn(looked, next, isPaused) {
  const stop = /** @type {HTMLElement} */ (document.querySelector("[data-stop]"));
  const rows = /** @type {Element} */ (document.querySelector("[data-region=jobs]"));
  const more = /** @type {HTMLElement} */ (document.querySelector("[data-more]"));
  let total = Number(looked.dataset.looked);
  let going = true;
  stop.hidden = false;
  stop.addEventListener("click", () => (going = false));
  let took = 0;
  while (going && !rows.children.length) {
    await new Promise((awake) => setTimeout(awake, Math.max(REST * took, BLINK)));
    if (!going || document.hidden || isPaused()) continue;
    const began = performance.now();
    const answer = await fetch(next.href.replace("/jobs?", "/jobs.json?")).catch(() => null);
    took = performance.now() - began;
    if (!answer?.ok) break;
    const found = await answer.json();
    if (found.jobs.length) return location.replace(next.href);
    total += found.scanned;
    looked.textContent = total.toLocaleString("en");
    if (!found.next) {
      more.textContent = ", all that there are";
      next.hidden = true;
      break;
    }
    const address = new URL(next.href);
    address.searchParams.set("cursor", found.next);
    next.href = address.href;
  }
  stop.hidden = true;
}
