// The recent steps as a chart, the running figures, pause and go on.

import { attempt, call, hindrance, hinder, json, keyText, news, pausedText, percent } from "./service.js";

const $ = (name) => document.querySelector(name);
const SVG = "http://www.w3.org/2000/svg";
const WINDOW = 20; // steps of which each point is the mean
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 358, 12, 206];

let paused = false;

export function showLearning({ state, reason, windows }) {
  paused = state === "paused";
  $("#state").textContent = state;
  $("#pause").textContent = paused ? "Go on learning" : "Pause learning";
  $("#reason").textContent = reason ?? "";
  hinder({ closed: false, paused: paused ? pausedText(reason ?? "nobody said why") : "" });
  const [window] = windows;
  const said = window.count
    ? `${rightOf(window)} loss ${window.loss.toFixed(3)}.`
    : "No labelled examples yet";
  $("#figures").textContent = said;
  $("#queue-accuracy").textContent = window.count ? `Running accuracy: ${percent(window.accuracy)}` : "";
}

function rightOf({ count, accuracy }) {
  if (count === 1) return `The 1 labelled example was ${accuracy ? "right" : "wrong"};`;
  return `Of the last ${count} labelled examples ${percent(accuracy)} were right; mean`;
}

news.addEventListener("hindrance", () => {
  $("#pause").disabled = hindrance.closed;
  if (hindrance.closed) {
    $("#figures").textContent = keyText("the figures want");
    $("#state").textContent = "–";
    $("#reason").textContent = "";
  }
});

$("#pause").addEventListener("click", () =>
  attempt(async () => {
    const wanted = paused ? { state: "learning" } : { state: "paused", reason: `paused on the page at ${location.pathname}` };
    showLearning(await (await call("learning", json("PUT", wanted))).json());
    news.dispatchEvent(new Event("changed"));
  }),
);

// versions: newest first
export function showChart(versions) {
  const steps = versions.filter(({ kind }) => kind === "train-step").reverse();
  const chart = $("#chart");
  if (!steps.length) {
    chart.replaceChildren();
    return;
  }
  const accuracy = running(steps, "accuracy");
  const loss = running(steps, "loss");
  const most = Math.max(...loss, 0.1);
  chart.replaceChildren(
    ...[0, 0.5, 1].flatMap((share) => {
      const y = BOTTOM - share * (BOTTOM - TOP);
      return [
        shape("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y, y2: y }),
        shape("text", { x: LEFT - 4, y: y + 3, "text-anchor": "end" }, `${100 * share} %`),
        shape("text", { x: RIGHT + 4, y: y + 3 }, (share * most).toFixed(most < 10 ? 2 : 0)),
      ];
    }),
    shape("text", { x: LEFT, y: BOTTOM + 16 }, `version ${steps[0].model_version}`),
    shape("text", { x: RIGHT, y: BOTTOM + 16, "text-anchor": "end" }, `${steps.at(-1).model_version}`),
    line("accuracy", accuracy, 1),
    line("loss", loss, most),
  );
  chart.setAttribute(
    "aria-label",
    `${steps.length === 1 ? "The only step" : `The last ${steps.length} steps`}: accuracy ${percent(accuracy.at(-1))}, loss ${loss.at(-1).toFixed(3)} at version ${steps.at(-1).model_version}`,
  );
}

function running(steps, name) {
  return steps.map((_, at) => {
    const recent = steps.slice(Math.max(0, at + 1 - WINDOW), at + 1);
    const count = recent.reduce((sum, step) => sum + step.count, 0);
    return recent.reduce((sum, step) => sum + step[name] * step.count, 0) / count;
  });
}

function line(name, values, most) {
  const width = (RIGHT - LEFT) / Math.max(1, values.length - 1);
  const points = values.map((value, at) => [LEFT + at * width, BOTTOM - (value / most) * (BOTTOM - TOP)]);
  if (points.length === 1) points.push([RIGHT, points[0][1]]);
  return shape("polyline", { class: name, points: points.map((point) => point.map((x) => x.toFixed(1))).join(" ") });
}

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.textContent = text;
  return made;
}
