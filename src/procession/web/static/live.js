// The page kept up to date: one WebSocket for this view; where none gets through, the same rows by GET. A list is held
// still while somebody is in it. Loaded by every page; it starts the other modules.
import { setClock, tellAges } from "./ages.js";
import { bulk } from "./bulk.js";
import { charts } from "./chart.js";
import { dots } from "./flow.js";
import { keys } from "./keys.js";
import { look } from "./look.js";
import { rows } from "./morph.js";

/** @typedef {{ order?: string[], set?: Record<string, string> }} Changes */
/** @typedef {{ at: number, trouble: string, regions: Record<string, Changes> }} Message */

const address = document.body.dataset.live;
const POLL = 2000;
const HIDDEN = 30_000;
const LONGEST_WAIT = 5000;
const SILENCE = 40_000; // the server speaks every 15 s

let paused = false;
/** @type {WebSocket | null} */
let socket = null;
let heard = 0;
let failures = 0;
let everOpen = false;
let stopped = false;
/** @type {number | undefined} */
let timer;
/** @type {Map<Element, Changes>} what a held list will become */
const held = new Map();
const pointer = matchMedia("(hover: hover)");

/** @param {"live" | "away" | "paused"} state @param {string} words */
function status(state, words) {
  const shown = /** @type {HTMLElement} */ (document.getElementById("status"));
  const text = /** @type {HTMLElement} */ (document.getElementById("status-text"));
  shown.dataset.state = state;
  if (text.textContent !== words) text.textContent = words;
}

/** @param {string} words "" for none */
function tellTrouble(words) {
  const trouble = /** @type {HTMLElement} */ (document.getElementById("trouble"));
  trouble.hidden = !words;
  if (trouble.textContent !== words) trouble.textContent = words;
}

/** Somebody is in this list: a row is chosen, focused or under the pointer, or some of its text is selected.
 * @param {Element} region */
function occupied(region) {
  const text = getSelection();
  return Boolean(
    region.querySelector(":checked") ||
      region.contains(document.activeElement) ||
      (pointer.matches && region.matches(":hover")) ||
      (text && !text.isCollapsed && region.contains(text.anchorNode)),
  );
}

/** Once a list is held, the others of the page are held with it: what leads on from its last row stays with that row.
 * @param {Element} region @param {Changes} changes */
function take(region, changes) {
  if (!region.hasAttribute("data-hold") || !(held.size || (changes.order && occupied(region)))) {
    rows(region, changes.set ?? {}, changes.order);
    return;
  }
  const waiting = held.get(region) ?? {};
  const order = changes.order ?? waiting.order;
  const set = Object.entries({ ...waiting.set, ...changes.set }).filter(([id]) => !order || order.includes(id));
  held.set(region, { order, set: Object.fromEntries(set) });
  rows(region, changes.set ?? {}, undefined);
  tellHeld();
}

function tellHeld() {
  let fresh = 0;
  let full = false;
  for (const [region, { order = [] }] of held) {
    if (region.getAttribute("data-hold") === "along") continue;
    const newer = order.filter((id) => document.getElementById(id)?.parentElement !== region).length;
    fresh += newer;
    full ||= newer > 0 && newer === order.length;
  }
  const button = /** @type {HTMLElement} */ (document.getElementById("show-held"));
  const words = fresh ? `${fresh}${full ? " or more" : ""} newer – show` : "the list has changed – show";
  if (button.textContent !== words) button.textContent = words;
  /** @type {HTMLElement} */ (document.getElementById("held")).hidden = false;
}

function release() {
  for (const [region, changes] of held) rows(region, changes.set ?? {}, changes.order);
  held.clear();
  const shown = document.getElementById("held");
  if (shown) shown.hidden = true;
  tellAges();
}

/** @param {Message} message */
function receive(message) {
  if (paused) return;
  setClock(message.at);
  for (const [name, changes] of Object.entries(message.regions)) {
    const region = document.querySelector(`[data-region="${name}"]`);
    if (region) take(region, changes);
  }
  tellTrouble(message.trouble);
  status(message.trouble ? "away" : "live", message.trouble ? "Store away" : "Live");
  dots();
  charts();
  tellAges();
}

function connect() {
  clearTimeout(timer);
  if (!address || stopped || paused || socket) return;
  const opened = new WebSocket(new URL(address, location.href).href.replace(/^http/, "ws"));
  socket = opened;
  heard = Date.now();
  opened.onopen = () => {
    failures = 0;
    everOpen = true;
  };
  opened.onmessage = (event) => {
    heard = Date.now();
    receive(JSON.parse(event.data));
  };
  opened.onclose = () => {
    if (socket !== opened) return;
    socket = null;
    if (stopped || paused) return;
    failures += 1;
    status("away", "Reconnecting");
    if (failures > 1) void ask();
    else again();
  };
}

function again() {
  if (stopped || paused) return;
  timer = everOpen ? setTimeout(connect, Math.min(LONGEST_WAIT, 250 * 2 ** failures)) : setTimeout(ask, POLL);
}

/** The same by GET: rows where no socket gets through, and why not where nobody is let in any more. */
async function ask() {
  try {
    const answer = await fetch(/** @type {string} */ (address), {
      headers: { accept: "application/json" },
      redirect: "manual",
    });
    if (answer.ok) receive(await answer.json());
    else if ([401, 403].includes(answer.status) || answer.type === "opaqueredirect") {
      tellTrouble("You are not let in any more, so nothing here is up to date. Load the page again to sign in.");
      status("away", "Refused");
    } else status("away", `Answered ${answer.status}`);
  } catch {
    status("away", "Reconnecting");
  }
  again();
}

/** A socket may stay open although nobody is at its other end. */
function listen() {
  if (!socket || Date.now() - heard < SILENCE) return;
  status("away", "Reconnecting");
  disconnect();
  connect();
}

function disconnect() {
  clearTimeout(timer);
  const open = socket;
  socket = null;
  open?.close();
}

/** Pause or go on. While paused nothing on the page changes. */
export function togglePause() {
  paused = !paused;
  const button = /** @type {HTMLElement} */ (document.getElementById("pause"));
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Go on" : "Pause";
  if (paused) {
    disconnect();
    status("paused", "Paused");
  } else connect();
}

/** @type {number | undefined} */
let hiding;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      stopped = true;
      disconnect();
    }, HIDDEN);
  } else if (stopped) {
    stopped = false;
    connect();
  }
});

document.getElementById("show-held")?.addEventListener("click", release);
const pause = document.getElementById("pause");
if (pause && address) {
  pause.hidden = false;
  pause.addEventListener("click", togglePause);
}
tellAges();
setInterval(() => {
  tellAges();
  listen();
  if (held.size && !paused && ![...held.keys()].some(occupied)) release();
}, 1000);
dots();
charts();
bulk();
keys(togglePause);
look(() => paused);
connect();
