// What the newest version consists of: the first layer's weights as pictures, and the memory as sheets of thumbnails.

import { attempt, call, classes, element, fit, news } from "./service.js";
import { readNpz } from "./npz.js";

const $ = (name) => document.querySelector(name);
const inside = $("#inside");
const look = $("#look");
const BESIDE = 48; // pixels for the name of a class
const MOST_UNITS = 200;
const LINES = 3; // of each class
const TILE = 56;
const SMALLEST = 24; // pixels of the screen: what is smaller is shown enlarged

async function weights() {
  const answer = await call("weights");
  return { version: answer.headers.get("X-Model-Version"), buffer: await answer.arrayBuffer() };
}

async function show() {
  const { version, buffer } = await weights();
  const arrays = await readNpz(buffer);
  const settings = JSON.parse(arrays.settings?.data || "{}");
  const [inputs, units] = arrays.W1.shape;
  const shape = settings.image_shape ?? squareOf(inputs);
  $("#weights-text").textContent =
    `version ${version}: ${units} hidden units, blue where ink speaks for one and red where it speaks against it`;
  $("#weights").replaceChildren(...Array.from({ length: Math.min(units, MOST_UNITS) }, (_, unit) => unitPicture(arrays.W1, unit, shape)));
  inside.hidden = false; // before its width is asked for
  showMemory(arrays["memory.x"], arrays["memory.t"], shape);
  look.textContent = "Show them again";
}

function squareOf(inputs) {
  const side = Math.sqrt(inputs);
  return Number.isInteger(side) ? [side, side] : [1, inputs];
}

function unitPicture(W1, unit, [rows, columns]) {
  const [inputs, units] = W1.shape;
  const column = Float32Array.from({ length: inputs }, (_, at) =>
    W1.transposed ? W1.data[unit * inputs + at] : W1.data[at * units + unit],
  );
  const most = column.reduce((max, weight) => Math.max(max, Math.abs(weight)), 1e-9);
  const canvas = element("canvas", { width: columns, height: rows });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Weights of hidden unit ${unit + 1}`);
  const pixels = new ImageData(columns, rows);
  column.forEach((weight, at) => {
    const faded = 255 * (1 - Math.abs(weight) / most);
    pixels.data.set(weight > 0 ? [faded, faded, 255, 255] : [255, faded, faded, 255], 4 * at);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  fit(canvas, columns, rows, TILE);
  return canvas;
}

function showMemory(x, t, shape) {
  const sheets = new Map();
  t?.data.forEach((label, at) => sheets.set(label, [...(sheets.get(label) ?? []), at]));
  $("#memory-text").textContent = t?.data.length
    ? `${t.data.length} labelled ${t.data.length === 1 ? "image" : "images"}, which it rehearses beside new ones`
    : "nothing: these weights came without images";
  const labels = [...sheets.keys()].sort((a, b) => a - b);
  $("#memory").replaceChildren(
    ...labels.map((label) =>
      element("div", {}, element("span", { textContent: classes.name(label) }), sheet(x, sheets.get(label), shape, label)),
    ),
  );
}

function sheet(x, places, [rows, columns], label) {
  const zoom = Math.max(1, Math.ceil(SMALLEST / Math.max(rows, columns)));
  const most = Math.max(5, Math.floor(($("#memory").clientWidth - BESIDE) / (zoom * columns)));
  const shown = places.slice(0, LINES * most);
  const across = Math.min(most, shown.length);
  const canvas = element("canvas", { width: across * columns, height: Math.ceil(shown.length / across) * rows });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${shown.length} of ${places.length} remembered images of ${classes.name(label)}`);
  canvas.style.width = `${zoom * canvas.width}px`; // its height follows
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const size = rows * columns;
  shown.forEach((place, at) => {
    const pixels = new ImageData(columns, rows);
    for (let pixel = 0; pixel < size; pixel += 1) {
      const grey = 255 - x.data[place * size + pixel];
      pixels.data.set([grey, grey, grey, 255], 4 * pixel);
    }
    context.putImageData(pixels, (at % across) * columns, Math.floor(at / across) * rows);
  });
  return canvas;
}

look.addEventListener("click", () => attempt(show));

$("#download").addEventListener("click", () =>
  attempt(async () => {
    const { version, buffer } = await weights();
    const link = element("a", { href: URL.createObjectURL(new Blob([buffer])), download: `weights-${version}.npz` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }),
);

let shownAt = 0;
news.addEventListener("newer", () => {
  if (inside.hidden || document.hidden || performance.now() - shownAt < 5000) return;
  shownAt = performance.now();
  attempt(show);
});
