// Instants as ages, by the server's clock: the page holds instants, so that a row changes only when its job does.

/** Milliseconds that the server's clock is ahead of ours. */
let ahead = 0;

/** @param {number} now the server's clock */
export function setClock(now) {
  ahead = now - Date.now();
}

/** @param {number} seconds */
function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** @param {Element} element with data-at */
export function tellAge(element) {
  const at = Number(element.getAttribute("data-at"));
  const seconds = (Date.now() + ahead - at) / 1000;
  const said = seconds >= 1 ? `${span(seconds)} ago` : seconds > -1 ? "now" : `in ${span(-seconds)}`;
  if (element.textContent !== said) element.textContent = said;
  const whole = `${new Date(at).toISOString().replace("T", " ").slice(0, 19)} UTC`;
  if (element.getAttribute("title") !== whole) element.setAttribute("title", whole);
}

export function tellAges() {
  for (const element of document.querySelectorAll("[data-at]")) tellAge(element);
}
