// Rows come as HTML with an id; here they become what is on the page, keeping every node that can be kept: a focused,
// checked or opened element stays the same element. Fed only by live.js, from our own server.
import { tellAge } from "./ages.js";

/** The one Trusted-Types policy: HTML that our own templates drew and escaped. */
const policy = window.trustedTypes?.createPolicy("procession", { createHTML: (html) => html }) ?? {
  createHTML: (html) => html,
};

/** What the person at the screen did with an element is theirs: an update never takes it back. The value of a button or a
 * hidden field is ours: it says what the button does.
 * @param {Element} element @param {string} name */
function isTheirs(element, name) {
  if (name === "value") return element.matches("input:not([type=hidden])");
  return name === "open" || name === "checked";
}

/** @param {string} html @returns {Element} */
function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html.trim());
  return /** @type {Element} */ (template.content.firstElementChild);
}

/** Make `old` look like `next`.
 * @param {Element} old @param {Element} next */
export function morph(old, next) {
  if (old.hasAttribute("data-at") && old.getAttribute("data-at") === next.getAttribute("data-at")) return;
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !isTheirs(old, name) && name !== "title") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value && !isTheirs(old, name)) old.setAttribute(name, value);
  }
  const wanted = [...next.childNodes];
  const there = [...old.childNodes].filter((node) => !(node instanceof Element && node.hasAttribute("data-own")));
  for (const [index, child] of wanted.entries()) {
    const mine = there[index];
    if (!mine) old.append(child);
    else if (mine.nodeType !== child.nodeType || mine.nodeName !== child.nodeName) mine.replaceWith(child);
    else if (mine instanceof Element) morph(mine, /** @type {Element} */ (child));
    else if (mine.nodeValue !== child.nodeValue) mine.nodeValue = child.nodeValue;
  }
  for (const extra of there.slice(wanted.length)) extra.remove();
  if (old.hasAttribute("data-at")) tellAge(old);
}

/** Put rows into a region. With `order`, rows come, move and go; without, those that are there change where they stand.
 * @param {Element} region @param {Record<string, string>} set @param {string[] | undefined} order
 * @returns {number} how many rows are new */
export function rows(region, set, order) {
  for (const [id, html] of Object.entries(set)) {
    const old = document.getElementById(id);
    if (old && old.parentElement === region) morph(old, parsed(html));
  }
  if (!order) return 0;
  const wanted = new Set(order);
  for (const old of [...region.children]) if (!wanted.has(old.id)) old.remove();
  for (const text of [...region.childNodes]) if (text.nodeType === Node.TEXT_NODE) text.remove();
  let fresh = 0;
  let place = region.firstElementChild;
  for (const id of order) {
    const old = document.getElementById(id);
    if (old && old.parentElement === region) {
      if (old === place) place = place.nextElementSibling;
      else move(region, old, place);
    } else if (set[id]) {
      const row = parsed(set[id]);
      row.classList.add("is-new");
      row.addEventListener("animationend", () => row.classList.remove("is-new"), { once: true });
      region.insertBefore(row, place);
      fresh += 1;
    }
  }
  return fresh;
}

/** Move a row without losing its focus: `moveBefore` where the browser has it.
 * @param {any} region @param {Element} row @param {Element | null} place */
function move(region, row, place) {
  const focused = row.contains(document.activeElement) ? document.activeElement : null;
  if (region.moveBefore) region.moveBefore(row, place);
  else region.insertBefore(row, place);
  if (focused && document.activeElement !== focused) /** @type {HTMLElement} */ (focused).focus({ preventScroll: true });
}
