// How the network came to its answer to this drawing: which units fired, and which pixels spoke for a class.

import { shown } from "./answer.js";
import { $, element, fit } from "./dom.js";
import { load } from "./inside.js";
import { evidence, heat, weightsOf } from "./network.js";
import { percent, say } from "./say.js";
import { classes, on, state } from "./state.js";

const UNITS = 12; // those that speak loudest
const [LARGE, SMALL] = [168, 56];

const panel = $("#inside-panel");
const place = $("#thinking");
const choice = $("#for-class");
/** @type {import("./network.js").Network | null} the network before the newest one */
let earlier = null;
/** @type {import("./network.js").Network | null} */
let network = null;
let showing = false;
let again = false;

async function show() {
  again = true;
  if (showing) return;
  showing = true;
  try {
    while (again) {
      again = false;
      await showOnce();
    }
  } finally {
    showing = false;
  }
}

async function showOnce() {
  const { answer } = shown;
  place.hidden = !answer;
  if (!panel.open || !answer || !state.may.teach) return;
  if (network?.version !== answer.model_version) {
    const newest = await load();
    if (network && newest.version !== network.version) earlier = network;
    network = newest;
  }
  const x = await inputOf(answer.pictures[0].image);
  if (answer === shown.answer) draw(answer, x);
}

/** The pixels that the network was given, 0…1. @param {string} url */
async function inputOf(url) {
  const image = Object.assign(new Image(), { src: url });
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Float32Array.from({ length: data.length / 4 }, (_, at) => data[4 * at] / 255);
}

/** @param {import("./answer.js").Answer} answer @param {Float32Array} x */
function draw(answer, x) {
  if (!network) return;
  const label = choice.value === "" ? answer.labels[0] : Number(choice.value);
  const its = evidence(network, x, label);
  $("#thinking-text").textContent = say("thinking", {
    name: classes.quoted(label),
    bias: signed(its.bias),
    units: signed(its.logit - its.bias),
    logit: signed(its.logit),
    share: percent(answer.probabilities[0][label]),
    fired: its.outputs.filter((output) => output > 0.01).length,
    count: its.outputs.length,
  });
  const maps = [figure(heat(its.pixels, network.shape), say("pixels-for", { name: classes.quoted(label) }), LARGE)];
  if (earlier && earlier.W1.shape[0] === x.length && label < earlier.b2.data.length) {
    const was = evidence(earlier, x, label);
    const change = its.pixels.map((value, at) => value - was.pixels[at]);
    maps.push(figure(heat(change, network.shape), say("changed-since", { version: earlier.version, from: signed(was.logit), to: signed(its.logit) }), LARGE));
  }
  $("#pixel-maps").replaceChildren(...maps);
  const loudest = its.units.map((_, unit) => unit).sort((a, b) => Math.abs(its.units[b]) - Math.abs(its.units[a]));
  const most = Math.abs(its.units[loudest[0]]) || 1;
  $("#fired").replaceChildren(
    ...loudest.slice(0, UNITS).map((unit) => {
      const one = figure(heat(weightsOf(/** @type {any} */ (network), unit), /** @type {any} */ (network).shape), signed(its.units[unit]), SMALL);
      one.className = its.units[unit] > 0 ? "for" : "against";
      /** @type {any} */ (one.firstChild).style.opacity = String(0.35 + (0.65 * Math.abs(its.units[unit])) / most);
      one.title = say("unit", { unit: unit + 1 });
      return one;
    }),
  );
}

/** @param {HTMLCanvasElement} canvas @param {string} text @param {number} side */
function figure(canvas, text, side) {
  fit(canvas, canvas.width, canvas.height, side);
  canvas.setAttribute("aria-label", text);
  return element("figure", {}, canvas, element("figcaption", { textContent: text }));
}

/** @param {number} value */
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;

function showClasses() {
  const { value } = choice;
  choice.replaceChildren(
    element("option", { value: "", textContent: say("its-answer") }),
    ...Array.from({ length: classes.count }, (_, label) => element("option", { value: label, textContent: classes.name(label) })),
  );
  choice.value = value;
}

const quietly = () => show().catch(() => {}); // the next answer tries again
choice.addEventListener("change", quietly);
panel.addEventListener("toggle", quietly);
for (const name of ["answer", "language"]) on(name, quietly);
for (const name of ["network", "language"]) on(name, showClasses);
