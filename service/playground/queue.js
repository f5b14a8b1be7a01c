// Remembered predictions that wait for a label, the least sure first: a key press each.

import { PAUSED, Refused, attempt, call, change, classes, element, fit, hindrance, json, keyText, news, percent } from "./service.js";

const $ = (name) => document.querySelector(name);
const group = $("#queue");
const image = $("#waiting");
const text = $("#queue-text");
const said = $("#queue-said");
const MOST_BY_KEY = 10; // classes that have a digit each
const SIDE = 112;

const skipped = new Set();
let current = null;
let busy = false;
let asked = 0;

// What is shown stays until it is labelled, skipped or gone, whatever else comes in.
export async function fill() {
  if (current || busy) return;
  const turn = ++asked;
  const limit = Math.min(1000, skipped.size + 1);
  const page = await (await call(`predictions?order=uncertain&limit=${limit}`)).json();
  const next = page.predictions.find(({ prediction_id }) => !skipped.has(prediction_id));
  if (turn !== asked || current || busy) return;
  if (!next) {
    show(null);
    return;
  }
  const png = await imageOf(next);
  if (png && turn === asked) show(next, png);
}

async function imageOf({ prediction_id }) {
  try {
    return await (await call(`predictions/${prediction_id}/image`)).blob();
  } catch (error) {
    if (error.status !== 404) throw error;
    return null; // labelled or expired in between
  }
}

function show(prediction, png) {
  current = prediction;
  URL.revokeObjectURL(image.src);
  image.hidden = !prediction;
  $("#skip").disabled = !prediction;
  $("#forget").disabled = !prediction;
  showWhetherToLabel();
  if (!prediction) {
    const none = hindrance.closed ? keyText("the queue wants") : skipped.size ? "Nothing else waits for a label." : "Nothing waits for a label.";
    if (text.textContent !== none) text.textContent = none;
    return;
  }
  image.src = URL.createObjectURL(png);
  image.alt = `An image that was answered with ${classes.name(prediction.label)}`;
  const order = prediction.probabilities.map((probability, label) => [probability, label]).sort((a, b) => b[0] - a[0]);
  const likely = order.slice(0, 2).map(([probability, label]) => `${classes.name(label)} (${percent(probability)})`);
  text.textContent = `It said ${likely.join(", then ")}. What is it?`;
}

function mayLabel() {
  return Boolean(current) && !hindrance.closed && !hindrance.paused;
}

function showWhetherToLabel() {
  for (const button of $("#labels").children) button.disabled = !mayLabel();
  $("#queue-hint").textContent = current ? hindrance.paused : "";
}

async function settle(action) {
  if (!current || busy) return;
  busy = true;
  said.textContent = "";
  try {
    await attempt(async () => {
      try {
        await action(current.prediction_id);
      } catch (error) {
        if (!(error instanceof Refused) || (error.status !== 404 && error.status !== 409)) throw error;
        if (error.type === PAUSED) throw error;
        said.textContent = "Somebody was faster, or it has expired: nothing was learnt from it.";
      }
      current = null;
    });
  } finally {
    busy = false;
  }
  if (!current) {
    const hadFocus = group.contains(document.activeElement);
    await attempt(fill);
    if (!current) show(null);
    if (hadFocus) group.focus();
    news.dispatchEvent(new Event("changed"));
  }
}

const label = (value) =>
  mayLabel() && settle((id) => change("train-step", json("POST", { prediction_ids: [id], labels: [value] })));
const skip = () => settle(async (id) => void skipped.add(id));
const forget = () => settle((id) => call(`predictions/${id}`, { method: "DELETE" }));

$("#skip").addEventListener("click", skip);
$("#forget").addEventListener("click", forget);
group.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (/^[0-9]$/.test(event.key) && byKey() && Number(event.key) < classes.count) label(Number(event.key));
  else if (event.key.toLowerCase() === "s") skip();
  else if (event.key === "Delete") forget();
  else return;
  event.preventDefault();
});

function byKey() {
  return classes.count <= MOST_BY_KEY;
}

function keysText() {
  const labels = Array.from({ length: classes.count }, (_, value) => value);
  const named = labels.some((value) => classes.name(value) !== String(value));
  const digits = named ? labels.map((value) => `${value} ${classes.name(value)}`).join(", ") : `0 to ${classes.count - 1} label`;
  return `Keys while this part has the focus: ${byKey() ? `${digits}, ` : ""}S skips, Delete forgets.`;
}

image.addEventListener("load", () => fit(image, image.naturalWidth, image.naturalHeight, SIDE));

news.addEventListener("hindrance", () => {
  if (hindrance.closed || !current) show(null);
  else showWhetherToLabel();
});

news.addEventListener("classes", () => {
  $("#queue-help").textContent = keysText();
  $("#labels").classList.toggle("named", classes.named);
  $("#labels").replaceChildren(
    ...Array.from({ length: classes.count }, (_, value) =>
      element("button", {
        type: "button",
        textContent: classes.name(value),
        disabled: !mayLabel(),
        onclick: () => label(value),
      }),
    ),
  );
});
