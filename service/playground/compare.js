// One drawing, and what each model in sight makes of it: again when it is another drawing, or the model has learnt.

import { explained, sayAt } from "./acts.js";
import { inSight } from "./cards.js";
import { $, element, put } from "./dom.js";
import { ask } from "./http.js";
import { Pad } from "./pad.js";
import { percent, say } from "./say.js";
import { on } from "./state.js";

const AT_ONCE = 6;
const PAUSE = 250; // milliseconds between two rounds, while somebody draws

/** @typedef {import("./cards.js").Card} Card */

/** What each model says, by its card: "" where it says nothing. @type {Map<Card, string>} */
const said = new Map();
let asking = false;
let askAgain = false;

const pad = new Pad($("#pad"), () => {
  $("#hint").hidden = !pad.empty;
  $("#undo-stroke").disabled = pad.empty;
  if (!pad.ready) forget();
  question();
});

function forget() {
  for (const card of said.keys()) card.answer.hidden = true;
  said.clear();
  tally();
}

async function question() {
  askAgain = true;
  if (asking) return;
  asking = true;
  while (askAgain && pad.ready) {
    askAgain = false;
    await round();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  asking = false;
}

async function round() {
  const { drawn, sheet, polarity } = pad;
  forgetOld();
  const waiting = inSight().filter((card) => card.answered !== mark(card, drawn));
  if (!waiting.length) return tally();
  const image = await pad.blob();
  const askOn = async () => {
    for (let card = waiting.shift(); card && sheet === pad.sheet; card = waiting.shift()) await askOne(card, image, drawn, polarity);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, askOn));
  if (sheet === pad.sheet) tally();
}

/** @param {Card} card @param {number} drawn */
const mark = (card, drawn) => `${drawn} ${card.version}`;

/** @param {Card} card @param {Blob} image @param {number} drawn @param {string} polarity */
async function askOne(card, image, drawn, polarity) {
  const { sheet } = pad;
  const answered = mark(card, drawn);
  const options = { method: "POST", headers: { "Content-Type": image.type }, body: image };
  const { name, parts } = await ask(`${card.path}/predict${polarity && `?polarity=${polarity}`}`, options).then(answer, failure);
  if (sheet !== pad.sheet) return;
  card.answered = answered;
  card.answer.replaceChildren(...parts);
  card.answer.hidden = false;
  said.set(card, name);
}

/** @param {any} answer */
function answer({ labels: [label], probabilities: [shares], label_names }) {
  const name = label_names?.[0] ?? String(label);
  const fill = element("i");
  fill.style.width = `${100 * shares[label]}%`;
  const bar = element("span", { className: "bar" }, fill);
  return { name, parts: [element("b", { textContent: name, title: name }), bar, element("span", { textContent: percent(shares[label]) })] };
}

/** @param {any} error */
function failure(error) {
  const isDrawing = ["no-digit", "several-digits"].includes(error.kind);
  const text = isDrawing ? say(`${error.kind}${pad.isPicture ? ".picture" : ""}`) : explained(error);
  return { name: "", parts: [element("small", { textContent: text })] };
}

/** What was said of another drawing, or before the model learnt, is no answer: a card out of sight is not asked again. */
function forgetOld() {
  for (const card of [...said.keys()]) {
    if (card.inSight || card.answered === mark(card, pad.drawn)) continue;
    card.answer.hidden = true;
    said.delete(card);
  }
}

/** How many say what. */
function tally() {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const [card, name] of said) if (name && card.item.isConnected) counts.set(name, (counts.get(name) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([name, times]) => say("wall.tally", { name, times }));
  put($("#tally"), parts.join(", "));
}

$("#clear").addEventListener("click", () => pad.clear());
$("#undo-stroke").addEventListener("click", () => pad.undo());
$("#file").addEventListener("change", async (/** @type {any} */ { target }) => {
  const [file] = target.files;
  target.value = "";
  const place = $("#drawing-text");
  sayAt(place, "");
  if (file) await pad.show(file).catch(() => sayAt(place, say("unreadable"), true));
});
for (const name of ["models", "in-sight"]) on(name, question);
on("language", tally);
