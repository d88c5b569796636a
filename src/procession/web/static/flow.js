// One dot for each job that arrived at a step since the last look, along the arrow that leads there: the movement seen
// is the movement that was. Where more came than can be shown, a dot stands for several. None under reduced motion.

const MOST = 12;
const TRAVEL = 900;
const APART = 70;
const still = matchMedia("(prefers-reduced-motion: reduce)");
/** @type {WeakMap<Element, number>} */
const seen = new WeakMap();

export function dots() {
  for (const track of document.querySelectorAll(".track")) {
    const total = Number(track.getAttribute("data-total"));
    const before = seen.get(track);
    seen.set(track, total);
    if (before === undefined || total <= before || still.matches || document.hidden) continue;
    const count = Math.min(total - before, MOST);
    for (let index = 0; index < count; index += 1) send(track, index * APART);
  }
}

/** @param {Element} track @param {number} delay */
function send(track, delay) {
  if (track.childElementCount >= MOST * 2) return;
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.toggleAttribute("data-own", true);
  track.append(dot);
  const way = track.getBoundingClientRect().width;
  const moved = dot.animate(
    [
      { transform: "translateX(0)", opacity: 0 },
      { opacity: 1, offset: 0.15 },
      { opacity: 1, offset: 0.85 },
      { transform: `translateX(${way}px)`, opacity: 0 },
    ],
    { duration: TRAVEL, delay, easing: "ease-in-out", fill: "backwards" },
  );
  moved.onfinish = () => dot.remove();
}
