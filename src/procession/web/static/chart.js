// The cross-hair of a chart, by pointer and by arrow keys, read out beside its title. The drawing itself comes from the
// server and needs no script.

/** @typedef {{ at: number[], unit: string, lines: { name: string, values: (number | null)[] }[] }} Series */
/** @type {WeakMap<Element, number>} the instant that is being read, counted from the newest */
const reading = new WeakMap();
const known = new WeakSet();

export function charts() {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    if (!known.has(figure)) attend(figure);
    if (reading.has(figure)) read(figure);
  }
}

/** As the table says it. @param {number} at */
const told = (at) => `${new Date(at).toISOString().slice(5, 16).replace("T", " ")} UTC`;

/** @param {Element} figure @returns {Series} */
const series = (figure) => JSON.parse(figure.getAttribute("data-chart") ?? "{}");

/** @param {Element} figure */
function attend(figure) {
  known.add(figure);
  const plot = /** @type {HTMLElement} */ (figure.querySelector(".plot"));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const last = series(figure).at.length - 1;
    set(figure, last - Math.round(((event.clientX - box.left) / box.width) * last));
  });
  plot.addEventListener("pointerleave", () => set(figure, null));
  plot.addEventListener("focus", () => set(figure, 0));
  plot.addEventListener("blur", () => set(figure, null));
  plot.addEventListener("keydown", (event) => {
    const from = reading.get(figure) ?? 0;
    const last = series(figure).at.length - 1;
    const to = { ArrowLeft: from + 1, ArrowRight: from - 1, Home: last, End: 0 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    set(figure, Math.min(last, Math.max(0, to)));
  });
}

/** @param {Element} figure @param {number | null} index */
function set(figure, index) {
  if (index === null) reading.delete(figure);
  else reading.set(figure, index);
  read(figure);
}

/** @param {Element} figure */
function read(figure) {
  const { at, unit, lines } = series(figure);
  const back = reading.get(figure);
  const hair = /** @type {HTMLElement} */ (figure.querySelector(".hair"));
  const output = /** @type {HTMLElement} */ (figure.querySelector(".readout"));
  hair.hidden = back === undefined || !at.length;
  if (back === undefined || !at.length) {
    output.textContent = "";
    return;
  }
  const index = Math.max(0, at.length - 1 - back);
  hair.style.left = `${(100 * index) / Math.max(1, at.length - 1)}%`;
  const values = lines.map((line) => `${line.name} ${line.values[index] ?? "–"}`);
  output.textContent = `${told(at[index])}  ${values.join(", ")} ${unit}`;
}
