// The recent steps as a chart: values under the pointer, marks for what was no step, and a way to each version.

import { $, shape } from "./dom.js";
import { percent, say } from "./say.js";
import { on, tell } from "./state.js";
import { kindOf } from "./versions.js";

const WINDOW = 20; // steps of which each point is the mean
const WORST = 3; // the loss at the top of the chart; what is above is drawn there
const [WIDTH, LEFT, RIGHT, TOP, BOTTOM] = [400, 48, 372, 10, 150];

/** @typedef {import("./versions.js").Version} Version */
/** @typedef {Version & {accuracyMean: number, lossMean: number}} Point */

const chart = $("#chart");
const value = $("#chart-value");
/** @type {Version[]} oldest first */
let versions = [];
/** @type {Map<number, {accuracy: number, loss: number}>} */
let means = new Map();
let at = -1; // the version that is pointed at, by its place

/** @param {{versions: Version[]}} page newest first */
function show(page) {
  const pointed = versions[at]?.model_version;
  versions = page.versions.slice().reverse();
  at = versions.findIndex(({ model_version }) => model_version === pointed);
  const steps = versions.filter(({ kind }) => kind === "train-step");
  means = new Map(steps.map(({ model_version }, place) => [model_version, mean(steps.slice(Math.max(0, place + 1 - WINDOW), place + 1))]));
  draw();
}

/** @param {Version[]} steps */
function mean(steps) {
  const count = steps.reduce((sum, step) => sum + (step.count ?? 0), 0);
  const of = (/** @type {"accuracy" | "loss"} */ name) => steps.reduce((sum, step) => sum + (step[name] ?? 0) * (step.count ?? 0), 0) / count;
  return { accuracy: of("accuracy"), loss: of("loss") };
}

const x = (/** @type {number} */ place) => LEFT + ((RIGHT - LEFT) * (place + 0.5)) / Math.max(1, versions.length);
const y = (/** @type {number} */ share) => BOTTOM - Math.min(1, share) * (BOTTOM - TOP);

function draw() {
  const scale = [0, 0.5, 1].flatMap((share) => [
    shape("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(share), y2: y(share) }),
    shape("text", { x: LEFT - 4, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`),
    shape("text", { x: RIGHT + 4, y: y(share) + 4 }, (share * WORST).toFixed(1)),
  ]);
  const marks = versions.flatMap(({ kind, event }, place) =>
    kind === "train-step" ? [] : [shape("line", { class: `mark ${event ?? kind}`, x1: x(place), x2: x(place), y1: TOP, y2: BOTTOM + 6 })],
  );
  const ends = versions.length
    ? [
        shape("text", { x: LEFT, y: BOTTOM + 20 }, say("version-of", { version: versions[0].model_version })),
        shape("text", { x: RIGHT, y: BOTTOM + 20, "text-anchor": "end" }, String(versions[versions.length - 1].model_version)),
      ]
    : [];
  chart.replaceChildren(...scale, ...marks, ...ends, line("accuracy", 1), line("loss", WORST), shape("line", { class: "pointer" }));
  $("#chart-box").hidden = !means.size;
  point();
}

/** @param {"accuracy" | "loss"} name @param {number} most */
function line(name, most) {
  const points = versions.flatMap(({ model_version }, place) => {
    const its = means.get(model_version);
    return its ? [`${x(place).toFixed(1)},${y(its[name] / most).toFixed(1)}`] : [];
  });
  if (points.length === 1) points.push(`${RIGHT},${points[0].split(",")[1]}`);
  return shape("polyline", { class: name, points: points.join(" ") });
}

/** Says of the version that is pointed at, else of the newest. */
function point() {
  const place = at < 0 ? versions.length - 1 : at;
  const version = versions[place];
  if (!version) return;
  const its = means.get(version.model_version);
  const figures = its ? `, ${say("chart-value", { share: percent(its.accuracy), loss: its.loss.toFixed(3) })}` : "";
  value.textContent = `${say("version-of", { version: version.model_version })}: ${kindOf(version)}${figures}`;
  chart.setAttribute("aria-valuenow", String(version.model_version));
  chart.setAttribute("aria-valuemin", String(versions[0].model_version));
  chart.setAttribute("aria-valuemax", String(versions[versions.length - 1].model_version));
  chart.setAttribute("aria-valuetext", value.textContent);
  const pointer = chart.querySelector(".pointer");
  for (const [name, to] of Object.entries({ x1: x(place), x2: x(place), y1: TOP, y2: BOTTOM })) pointer?.setAttribute(name, String(to));
  pointer?.classList.toggle("away", at < 0);
}

chart.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
  const box = chart.getBoundingClientRect();
  const share = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (RIGHT - LEFT);
  at = Math.max(0, Math.min(versions.length - 1, Math.floor(share * versions.length)));
  point();
});
chart.addEventListener("pointerleave", () => {
  at = -1;
  point();
});
chart.addEventListener("click", (/** @type {MouseEvent} */ { detail }) => detail > 1 || at < 0 || tell("version", versions[at]));
chart.addEventListener("keydown", (/** @type {KeyboardEvent} */ { key, repeat }) => {
  const last = versions.length - 1;
  const place = at < 0 ? last : at;
  if (key === "Enter" && !repeat) tell("version", versions[place]);
  /** @type {Record<string, number>} */
  const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
  if (!(key in to)) return;
  at = Math.max(0, Math.min(last, to[key]));
  point();
});

on("versions", show);
on("language", draw);
on("selected", (version) => {
  at = versions.findIndex(({ model_version }) => model_version === version);
  point();
});
