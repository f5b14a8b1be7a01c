// Unlabelled predictions, the least sure first: a key press each. A label counts only for a picture that was seen.

import { act, change, sayAt } from "./acts.js";
import { ordered } from "./bars.js";
import { $, element, fit, roving } from "./dom.js";
import { Failure, ask, call, json } from "./http.js";
import { addLesson, keep } from "./lessons.js";
import { dataUrl } from "./picture.js";
import { percent, say } from "./say.js";
import { classes, hindrance, on, state } from "./state.js";
import { classOf } from "./teach.js";

const LISTED = 50; // predictions in one answer
const SIDE = 160;
const SEEN = 250; // milliseconds that a picture is on the screen before a label counts for it

const panel = $("#queue-panel");
const group = $("#queue");
const image = $("#waiting");
const text = $("#queue-text");
const said = $("#queue-said");
const settleTabStop = roving($("#labels"), "button");

/** @typedef {{prediction_id: string, label: number, probabilities: number[]}} Prediction */

const skipped = new Set();
/** @type {Prediction[]} fetched, and not shown yet */
let next = [];
let cursor = "";
/** @type {Prediction | null} */
let current = null;
let currentUrl = "";
let seen = false; // for long enough
let filling = false;
let busy = false;

/** What is shown stays until it is labelled, skipped or gone, whatever else comes in. */
async function fill() {
  if (current || busy || filling || !panel.open || !state.may.teach) return;
  filling = true;
  try {
    for (;;) {
      const one = next.shift() ?? (await fetchNext());
      if (!one) break;
      if (skipped.has(one.prediction_id)) continue;
      const png = await imageOf(one);
      if (png) {
        filling = false; // what is shown can be settled, and the next one be fetched, before it is on the screen
        return await show(one, await dataUrl(png));
      }
    }
    showNone();
  } finally {
    filling = false;
  }
}

/** The first of the next page that was not skipped; none where there is no more. */
async function fetchNext() {
  do {
    const page = await ask(`predictions?order=uncertain&limit=${LISTED}${cursor}`);
    cursor = page.next_before ? `&before=${encodeURIComponent(page.next_before)}` : "";
    next = page.predictions.filter((/** @type {Prediction} */ { prediction_id }) => !skipped.has(prediction_id));
  } while (!next.length && cursor);
  showCount();
  return next.shift();
}

/** @param {Prediction} prediction @returns {Promise<Blob | null>} null where it was labelled or has expired by now */
async function imageOf({ prediction_id }) {
  try {
    return await (await call(`predictions/${prediction_id}/image`)).blob();
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}

function showCount() {
  const count = next.length + (current ? 1 : 0);
  $("#queue-count").textContent = count ? `(${count}${cursor ? "+" : ""})` : "";
}

/** @param {Prediction} prediction @param {string} url */
async function show(prediction, url) {
  current = prediction;
  currentUrl = url;
  seen = false;
  image.src = url;
  image.hidden = false;
  await image.decode().catch(() => {});
  if (current !== prediction) return; // it was settled meanwhile
  image.alt = say("waiting-alt", { name: classes.name(prediction.label) });
  const [first, second] = ordered(prediction.probabilities).map((label) => `${classes.quoted(label)} (${percent(prediction.probabilities[label])})`);
  text.textContent = say("queue-question", { first, second: second ?? "" });
  showCount();
  showButtons();
  requestAnimationFrame(() =>
    setTimeout(() => {
      if (current !== prediction) return;
      seen = !document.hidden;
      showButtons();
    }, SEEN),
  );
}

function showNone() {
  current = null;
  image.hidden = true;
  text.textContent = say(hindrance()?.[0] === "needs-key" ? "needs-key" : skipped.size ? "queue-skipped" : "queue-empty");
  showCount();
  showButtons();
}

function showButtons() {
  const why = hindrance();
  for (const button of $("#labels").children) button.disabled = !current || !seen || Boolean(why);
  settleTabStop();
  $("#skip").disabled = $("#forget").disabled = !current;
  $("#queue-hint").textContent = current && why ? say(...why) : "";
}

/** @param {(id: string, prediction: Prediction) => Promise<unknown>} action */
async function settle(action) {
  if (!current || busy) return;
  busy = true;
  const hadFocus = group.contains(document.activeElement);
  try {
    await action(current.prediction_id, current).catch((error) => {
      if (!(error instanceof Failure) || !["prediction-gone", "unknown-prediction"].includes(error.kind)) throw error;
      sayAt(said, say("problem.prediction-gone"));
    });
    current = null;
  } finally {
    busy = false;
  }
  await fill();
  if (hadFocus) group.focus({ preventScroll: true });
}

const label = act(said, async ({ value }) => {
  if (!seen || hindrance() || !(value >= 0)) return;
  await settle(async (id, prediction) => {
    const picture = currentUrl;
    const step = await change("train-step", json("POST", { prediction_ids: [id], labels: [value] }));
    keep(addLesson({ key: id, label: value, name: classes.quoted(value), picture, state: "learnt", version: step.model_version, was: prediction.probabilities[value] }));
    sayAt(said, say("learnt", { version: step.model_version, name: classes.quoted(value) }));
  });
});
const skip = () => settle(async (id) => void skipped.add(id));
const forget = act(said, () => settle((id) => call(`predictions/${id}`, { method: "DELETE" })));

$("#labels").addEventListener("click", (/** @type {any} */ event) => {
  if (event.target.matches("button")) label({ value: Number(event.target.value), detail: event.detail });
});
$("#skip").addEventListener("click", (/** @type {MouseEvent} */ { detail }) => detail > 1 || skip());
$("#forget").addEventListener("click", forget);
group.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const value = classOf(event.key);
  if (value >= 0) label({ value });
  else if (event.key.toLowerCase() === "s") skip();
  else if (event.key === "Delete" || event.key === "Backspace") forget({});
  else return;
  event.preventDefault();
});

image.addEventListener("load", () => fit(image, image.naturalWidth, image.naturalHeight, SIDE));
panel.addEventListener("toggle", () => fill().catch(() => {}));
for (const name of ["looked", "kept"]) on(name, () => fill().catch(() => {})); // the next look tries again
on("learning", showButtons);
on("replaced", showNone);
function showClasses() {
  $("#labels").classList.toggle("named", classes.areLong);
  $("#labels").replaceChildren(
    ...Array.from({ length: classes.count }, (_, value) => element("button", { type: "button", textContent: classes.name(value), value })),
  );
  if (!current || !state.may.teach) showNone();
  showButtons();
}
on("network", showClasses);
on("language", () => current || showNone());
