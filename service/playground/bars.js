// The probabilities as bars, and where each was before a lesson.

import { $, element } from "./dom.js";
import { percent, say } from "./say.js";
import { classes, on } from "./state.js";

const LIKELIEST = 5; // of more classes than a page has room for
const MANY = 12;

const list = $("#bars");
const all = $("#all-classes");
/** @type {number[] | null} */
let shown = null;
let open = false;

/** @param {number[]} probabilities */
export const ordered = (probabilities) => probabilities.map((_, label) => label).sort((a, b) => probabilities[b] - probabilities[a]);

/**
 * @param {number[] | null} probabilities null empties them
 * @param {number[] | null} [before] a lesson
 */
export function showBars(probabilities, before = null) {
  shown = probabilities;
  list.classList.remove("stale");
  const many = classes.count > MANY;
  const labels = many && probabilities ? ordered(probabilities) : Array.from({ length: classes.count }, (_, label) => label);
  const listed = many && !open ? labels.slice(0, LIKELIEST) : labels;
  while (list.children.length > listed.length) list.lastElementChild.remove();
  while (list.children.length < listed.length) list.append(row());
  const best = probabilities ? Math.max(...probabilities) : -1;
  listed.forEach((label, at) => fill(list.children[at], label, probabilities?.[label] ?? null, before?.[label] ?? null, best));
  all.hidden = !many;
  all.textContent = say(open ? "fewer-classes" : "all-classes", { count: classes.count });
}

/** What is shown belongs to an earlier state of the drawing. */
export const fade = () => list.classList.add("stale");

function row() {
  const bar = element("span", { className: "bar", role: "meter", ariaValueMin: "0", ariaValueMax: "100" }, element("i"), element("b"));
  return element("li", {}, element("span", { className: "name" }), bar, element("span", { className: "value" }));
}

/** @param {any} line @param {number} label @param {number | null} share @param {number | null} before @param {number} best */
function fill(line, label, share, before, best) {
  const [name, bar, value] = line.children;
  const [now, was] = bar.children;
  name.textContent = name.title = classes.name(label);
  bar.ariaLabel = say("probability-of", { name: classes.name(label) });
  bar.ariaValueNow = ((share ?? 0) * 100).toFixed(1);
  now.style.width = `${(share ?? 0) * 100}%`;
  const moved = before !== null && share !== null && Math.abs(before - share) > 0.01;
  was.hidden = !moved;
  was.style.insetInlineStart = `${(before ?? 0) * 100}%`;
  value.textContent = share === null ? "" : moved ? `${percent(before)} → ${percent(share)}` : percent(share);
  line.className = share === best ? "best" : "";
}

all.addEventListener("click", () => {
  open = !open;
  showBars(shown);
});
on("network", () => {
  list.classList.toggle("named", classes.areLong);
  showBars(shown?.length === classes.count ? shown : null);
});
