// What the newest version consists of: the first layer's weights as pictures, and the memory as sheets of thumbnails.

import { act } from "./acts.js";
import { $, element, fit, put } from "./dom.js";
import { call } from "./http.js";
import { heat, weightsOf } from "./network.js";
import { readNpz } from "./npz.js";
import { say } from "./say.js";
import { classes, on } from "./state.js";

const inside = $("#inside");
const look = $("#look");
const said = $("#inside-said");
const BESIDE = 48; // pixels for the name of a class
const MOST_UNITS = 200;
const LINES = 3; // of each class
const TILE = 56;
const SMALLEST = 24; // pixels of the screen: what is smaller is shown enlarged

async function weights() {
  const answer = await call("weights");
  return { version: Number(answer.headers.get("X-Model-Version")), buffer: await answer.arrayBuffer() };
}

/** The newest version's network, and its memory. */
export async function load() {
  const { version, buffer } = await weights();
  const arrays = /** @type {any} */ (await readNpz(buffer));
  const settings = JSON.parse(arrays.settings?.data || "{}");
  const shape = settings.image_shape ?? squareOf(arrays.W1.shape[0]);
  return { ...arrays, version, shape, activation: settings.activation ?? "relu" };
}

async function show() {
  const network = await load();
  const units = network.W1.shape[1];
  const shown = Math.min(units, MOST_UNITS);
  const most = network.W1.data.reduce((/** @type {number} */ max, /** @type {number} */ weight) => Math.max(max, Math.abs(weight)), 0);
  $("#weights-text").textContent = say(shown < units ? "weights-text.some" : "weights-text", { version: network.version, count: units, shown });
  $("#weights").replaceChildren(
    ...Array.from({ length: shown }, (_, unit) => {
      const canvas = heat(weightsOf(network, unit), network.shape, most);
      canvas.title = say("unit", { unit: unit + 1 });
      canvas.ariaHidden = "true"; // they are one picture, of which the heading tells
      fit(canvas, canvas.width, canvas.height, TILE);
      return canvas;
    }),
  );
  inside.hidden = false; // before its width is asked for
  showMemory(network["memory.x"], network["memory.t"], network.shape);
  look.dataset.say = "show-again";
  put(look, say("show-again"));
}

/** @param {number} inputs */
function squareOf(inputs) {
  const side = Math.sqrt(inputs);
  return Number.isInteger(side) ? [side, side] : [1, inputs];
}

/** @param {any} x @param {any} t @param {number[]} shape */
function showMemory(x, t, shape) {
  /** @type {Map<number, number[]>} */
  const sheets = new Map();
  t?.data.forEach((/** @type {number} */ label, /** @type {number} */ at) => {
    if (!sheets.has(label)) sheets.set(label, []);
    sheets.get(label)?.push(at);
  });
  $("#memory-text").textContent = t?.data.length ? say("memory-text", { count: t.data.length }) : say("no-memory");
  $("#memory").replaceChildren(
    ...[...sheets.entries()]
      .sort(([a], [b]) => a - b)
      .map(([label, places]) => element("div", {}, element("span", { textContent: classes.name(label) }), sheet(x, places, shape, label))),
  );
}

/** @param {any} x @param {number[]} places @param {number[]} shape @param {number} label */
function sheet(x, places, [rows, columns], label) {
  const zoom = Math.max(1, Math.ceil(SMALLEST / Math.max(rows, columns)));
  const most = Math.max(5, Math.floor(($("#memory").clientWidth - BESIDE) / (zoom * columns)));
  const shown = places.slice(0, LINES * most);
  const across = Math.min(most, shown.length);
  const canvas = element("canvas", { width: across * columns, height: Math.ceil(shown.length / across) * rows });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", say("memory-of", { shown: shown.length, count: places.length, name: classes.name(label) }));
  canvas.style.width = `${zoom * canvas.width}px`; // its height follows
  const context = canvas.getContext("2d");
  const size = rows * columns;
  shown.forEach((place, at) => {
    const pixels = new ImageData(columns, rows);
    for (let pixel = 0; pixel < size; pixel += 1) {
      const grey = x.data[place * size + pixel]; // light on dark, as the network is given it
      pixels.data.set([grey, grey, grey, 255], 4 * pixel);
    }
    context.putImageData(pixels, (at % across) * columns, Math.floor(at / across) * rows);
  });
  return canvas;
}

look.addEventListener("click", act(said, show));
$("#download").addEventListener(
  "click",
  act(said, async () => {
    const { version, buffer } = await weights();
    const link = element("a", { href: URL.createObjectURL(new Blob([buffer])), download: `weights-${version}.npz` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }),
);

let shownAt = 0;
on("newer", () => {
  if (inside.hidden || document.hidden || performance.now() - shownAt < 5000) return;
  shownAt = performance.now();
  show().catch(() => {}); // the next version tries again
});
