// Unlabelled predictions, the least sure first: a key press each. A label counts only for a picture that was seen.

import { act, change, sayAt } from "./acts.js";
import { ordered } from "./bars.js";
import { $, element, fit, put, roving } from "./dom.js";
import { Failure, call, json } from "./http.js";
import { addLesson, keep } from "./lessons.js";
import { percent, say } from "./say.js";
import { classes, hindrance, on, state } from "./state.js";
import { classOf } from "./teach.js";
import { ahead, fetchAhead, known, skipped } from "./waiting.js";

const SIDE = 160;
const SEEN = 250; // milliseconds that a picture is on the screen before a label counts for it

const panel = $("#queue-panel");
const group = $("#queue");
const image = $("#waiting");
const text = $("#queue-text");
const said = $("#queue-said");
const settleTabStop = roving($("#labels"), "button");

/** @typedef {import("./waiting.js").Prediction} Prediction */
/** @type {Prediction | null} */
let current = null;
let currentUrl = "";
let seen = false; // for long enough
let filling = false;
let busy = false;

/** What is shown stays until it is labelled, skipped or gone, whatever else comes in. */
async function fill() {
  if (!panel.open || !state.may.teach) return;
  showNext();
  if (filling || busy) return;
  filling = true;
  try {
    await fetchAhead(() => current, showNext);
    if (!current && !busy) showNone();
  } finally {
    filling = false;
    showCount();
  }
}

function showNext() {
  const one = current || busy ? null : ahead.shift();
  if (one) show(one.prediction, one.url);
}

function showCount() {
  const { count, isAll } = known();
  const all = count + (current ? 1 : 0);
  $("#queue-count").textContent = all ? `(${all}${isAll ? "" : "+"})` : "";
}

/** Where nothing waits, a sentence says so, and there is nothing to press. @param {boolean} shown */
function showParts(shown) {
  for (const part of [image, ...group.querySelectorAll(".classes, .buttons"), $("#queue-help")]) part.hidden = !shown;
  group.tabIndex = shown ? 0 : -1;
}

/** @param {Prediction} prediction @param {string} url */
async function show(prediction, url) {
  current = prediction;
  currentUrl = url;
  seen = false;
  image.src = url;
  showParts(true);
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
  showParts(false);
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
    seen = false;
  } finally {
    busy = false;
  }
  fill().catch(() => {}); // the next look tries again
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
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.defaultPrevented) return;
  const value = classOf(event.key);
  if (value >= 0) {
    if (seen) label({ value }); // else what became of the last one stays there to be read
  } else if (event.key === "ArrowRight") skip();
  else if (event.key === "Delete" || event.key === "Backspace") forget({});
  else return;
  event.preventDefault();
});

image.addEventListener("load", () => fit(image, image.naturalWidth, image.naturalHeight, SIDE));
panel.addEventListener("toggle", () => fill().catch(() => {}));
for (const name of ["looked", "kept"]) on(name, () => fill().catch(() => {})); // the next look tries again
on("learning", showButtons);
on("replaced", showNone);
function showHelp() {
  put($("#queue-help"), say(`queue-help.${classes.areDigits ? "digits" : "others"}`));
}
function showClasses() {
  showHelp();
  $("#labels").classList.toggle("named", classes.areLong);
  $("#labels").replaceChildren(
    ...Array.from({ length: classes.count }, (_, value) => element("button", { type: "button", textContent: classes.name(value), value })),
  );
  if (!current || !state.may.teach) showNone();
  showButtons();
}
on("network", showClasses);
on("language", () => {
  showHelp();
  if (!current) showNone();
});
