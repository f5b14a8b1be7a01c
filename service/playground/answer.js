// What the network makes of the paper: asked while somebody draws, one request at a time.

import { explained, waitedFor } from "./acts.js";
import { fade, showBars } from "./bars.js";
import { $, fit, put } from "./dom.js";
import { ask, line } from "./http.js";
import { Pad } from "./pad.js";
import { percent, say } from "./say.js";
import { classes, look, on, state, tell } from "./state.js";

const PAUSE = 60; // milliseconds between an answer and the next question, while somebody draws
const AGAIN = 2000; // after no answer
const PICTURES_APART = 5000; // a picture is large: what others teach is not asked about more often
const SIDE = 64; // of what the network was given

const text = $("#answer");
const caption = $("#seen-caption");
const seen = $("#seen");

/** @typedef {{labels: number[], probabilities: number[][], model_version: number, pictures: any[]}} Answer */

/** The answer to what is on the paper by now; none: why nothing can be drawn. */
export const shown = { answer: /** @type {Answer | null} */ (null), none: "" };
let asking = false;
let askAgain = false;
let answeredAt = 0;
/** @type {{drawn: number, probabilities: number[]} | null} */
let earlier = null;
let refused = { sheet: -1, drawn: -1 }; // the drawing that showed no digit, or several

export const pad = new Pad(
  $("#pad"),
  () => {
    if (!pad.ready) showNothing(pad.empty ? "nothing-drawn" : "no-digit");
    tell("drawn");
    question();
  },
  () => refused.sheet === pad.sheet && question(),
);

/** Each refusal is an error in the browser's console: the same drawing is not asked about again, nor in mid-stroke. */
const mayAsk = () => pad.ready && !(refused.sheet === pad.sheet && (refused.drawn === pad.drawn || pad.isDrawing));

/**
 * @param {Blob} image @param {string} polarity @param {string} [query]
 * @returns {Promise<Answer>}
 */
export function predict(image, polarity, query = "explain=true") {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": image.type };
  if (state.atLeast && !query.includes("model_version")) headers["X-Min-Model-Version"] = String(state.atLeast);
  return ask(`predict?${query}${polarity && `&polarity=${polarity}`}`, { method: "POST", headers, body: image });
}

/** What was drawn meanwhile is asked about next, and nothing in between. */
export async function question() {
  askAgain = true;
  if (asking || shown.none) return;
  asking = true;
  text.ariaBusy = "true"; // a screen reader hears the answer to the whole stroke
  while (askAgain && mayAsk() && !state.replaced) {
    askAgain = false;
    await questionOnce();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  asking = false;
  text.ariaBusy = "false";
}

async function questionOnce() {
  const { sheet, drawn } = pad;
  try {
    if (!shown.answer) put(text, say("asking"));
    const answer = await waitedFor(predict(await pad.blob(), pad.polarity), caption, "asking");
    answeredAt = performance.now();
    refused = { sheet: -1, drawn: -1 };
    if (sheet === pad.sheet) showAnswer(answer, drawn);
  } catch (error) {
    const said = explained(error);
    const { kind } = /** @type {import("./http.js").Failure} */ (error);
    if (kind === "401") look();
    if (sheet !== pad.sheet) return;
    if (["no-digit", "several-digits"].includes(kind)) {
      refused = { sheet, drawn };
      showNothing(refusal(kind));
    } else showNothing("no-answer", said);
    if (kind === "slow" || kind === "version-not-yet") askAgain = true;
  }
}

/** @param {string} kind of the problem */
function refusal(kind) {
  if (kind === "no-digit" && !pad.isPicture) return kind;
  return `${kind}.${classes.areDigits ? "" : "others."}${pad.isPicture ? "picture" : "drawing"}`;
}

/** From now on the answer to this drawing is compared with what it is now: before a lesson, or taking one back. */
export function remember() {
  if (shown.answer) earlier = { drawn: pad.drawn, probabilities: shown.answer.probabilities[0] };
}

/** @param {Answer} answer @param {number} drawn when it was asked about */
export function showAnswer(answer, drawn) {
  const [probabilities] = answer.probabilities;
  const [label] = answer.labels;
  if (probabilities.length !== classes.count) look();
  if (probabilities.length > classes.count) classes.count = probabilities.length;
  shown.answer = answer;
  put(text, say("it-is", { name: classes.quoted(label), share: percent(probabilities[label]) }));
  showBars(probabilities, earlier?.drawn === pad.drawn ? earlier.probabilities : null);
  const [picture] = answer.pictures;
  seen.src = picture.image;
  seen.alt = say("given");
  seen.hidden = false;
  put(caption, say("given"));
  tell("answer", { answer, drawn });
}

/** @param {string} name of a message @param {string} [why] */
function showNothing(name, why = "") {
  shown.answer = null;
  put(text, say(name));
  put(caption, why);
  if (pad.empty) showBars(null);
  else fade();
  seen.hidden = true;
  tell("answer", { answer: null, drawn: pad.drawn });
}

/** @param {string} why nothing can be drawn; "" where something can */
export function showNone(why) {
  if (shown.none === why) return;
  shown.none = why;
  pad.clear();
  if (why) put(text, why);
}

seen.addEventListener("load", () => fit(seen, seen.naturalWidth, seen.naturalHeight, SIDE));
on("newer", () => {
  if (!pad.isPicture || performance.now() - answeredAt > PICTURES_APART) question();
});
line.addEventListener("change", () => line.away || question());
on("network", () => state.may.predict && question());
setInterval(() => !document.hidden && pad.ready && !shown.answer && !asking && line.away && question(), AGAIN);
on("language", () => (shown.answer ? showAnswer(shown.answer, pad.drawn) : pad.empty && showNothing(shown.none || "nothing-drawn")));
