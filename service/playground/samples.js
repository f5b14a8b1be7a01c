// Digits to begin with, and what the network reads in each by now: so it is seen that it forgets nothing.

import { pad } from "./answer.js";
import { $, element } from "./dom.js";
import { ask } from "./http.js";
import { blobOf, paint } from "./pad.js";
import { percent, say } from "./say.js";
import { classes, on, state } from "./state.js";

const SIDE = 44;
/** A digit, and the points of its strokes, in hundredths across and down. The 6 leans so far that it is often read as a 5.
 * @type {[number, number[][]][]} */
const STROKES = [
  [7, [[25, 20, 50, 18, 75, 16, 60, 45, 42, 90], [32, 52, 52, 50, 74, 48]]],
  [2, [[26, 28, 46, 12, 68, 26, 56, 54, 34, 80, 26, 76, 34, 66, 52, 80, 78, 86]]],
  [4, [[62, 88, 62, 50, 62, 12, 44, 34, 24, 60, 50, 62, 80, 62]]],
  [9, [[66, 24, 50, 14, 36, 26, 40, 44, 56, 44, 67, 26, 68, 55, 62, 78, 46, 90, 30, 84]]],
  [5, [[68, 16, 46, 16, 38, 20, 36, 40, 56, 42, 70, 58, 62, 80, 44, 88, 28, 78]]],
  [6, [[84, 30, 52, 30, 26, 48, 24, 70, 46, 82, 58, 64, 30, 52]]],
];
const SAMPLES = STROKES.map(([digit, strokes]) => ({ digit, strokes: strokes.map((stroke) => curve(pairs(stroke))) }));

const list = $("#samples");
let asked = 0; // the version from which they were read

/** @param {number[]} numbers */
function pairs(numbers) {
  return numbers.flatMap((x, at) => (at % 2 ? [] : [{ x: x / 100, y: numbers[at + 1] / 100 }]));
}

/** Through all the points (Catmull and Rom 1974). @param {{x: number, y: number}[]} points */
function curve(points) {
  const at = (/** @type {number} */ place) => points[Math.max(0, Math.min(points.length - 1, place))];
  return points.slice(1).flatMap((_, place) => {
    const [a, b, c, d] = [at(place - 1), at(place), at(place + 1), at(place + 2)];
    return [0, 0.25, 0.5, 0.75, 1].map((t) => {
      const of = (/** @type {"x" | "y"} */ axis) =>
        0.5 *
        (2 * b[axis] +
          (c[axis] - a[axis]) * t +
          (2 * a[axis] - 5 * b[axis] + 4 * c[axis] - d[axis]) * t ** 2 +
          (3 * b[axis] - a[axis] - 3 * c[axis] + d[axis]) * t ** 3);
      return { x: of("x"), y: of("y") };
    });
  });
}

function show() {
  const side = SIDE * devicePixelRatio;
  list.replaceChildren(
    ...SAMPLES.map(({ digit, strokes }) => {
      const canvas = element("canvas", { width: side, height: side });
      paint(canvas.getContext("2d"), strokes, side);
      const button = element("button", { type: "button", ariaLabel: say("sample", { name: digit }) }, canvas, element("small"));
      button.addEventListener("click", () => pad.put(strokes.map((stroke) => [...stroke])));
      return element("li", {}, button);
    }),
  );
  asked = 0;
}

async function read() {
  const version = Math.max(1, state.atLeast);
  if (list.hidden || asked === version || !state.may.predict) return;
  asked = version;
  const form = new FormData();
  for (const { strokes } of SAMPLES) form.append("image", await blobOf(strokes), "sample.png");
  form.append("polarity", "dark");
  const headers = state.atLeast ? { "X-Min-Model-Version": String(state.atLeast) } : {};
  const { labels, probabilities } = await ask("predict", { method: "POST", body: form, headers });
  SAMPLES.forEach(({ digit }, at) => {
    const button = list.children[at].firstElementChild;
    const reading = say("reads", { name: labels[at], share: percent(probabilities[at][labels[at]]) });
    button.lastElementChild.textContent = `${labels[at] === digit ? "✓" : "✗"} ${labels[at]}`;
    button.classList.toggle("wrong", labels[at] !== digit);
    button.title = reading;
    button.ariaLabel = `${say("sample", { name: digit })}: ${reading}`;
  });
}

on("network", ({ image_shape }) => {
  list.hidden = $("#samples-title").hidden = !(classes.areDigits && image_shape);
  if (!list.children.length) show();
});
on("looked", () => read().catch(() => (asked = 0)));
on("language", () => {
  show();
  read().catch(() => (asked = 0));
});
