// Draw, see the answer, teach the right one, take that back.

import { Pad } from "./pad.js";
import { Refused, attempt, call, change, classes, element, fit, hindrance, json, keyText, news, percent, showTrouble } from "./service.js";

const $ = (name) => document.querySelector(name);
const answerText = $("#answer");
const bars = $("#bars");
const seen = $("#seen");
const caption = $("#seen-caption");
const lesson = $("#lesson");
const undo = $("#undo");

const SIDE = 84; // pixels of the picture that the network was given
const PAUSE = 60; // milliseconds between an answer and the next question, while somebody draws

let latest = null; // the answer to what is on the paper
let asking = false;
let askAgain = false;
let taught = null; // the version that a lesson made
let teaching = false;
let noPicture = ""; // why there is nothing to draw

const pad = new Pad($("#pad"), ask);

// One request at a time; what was drawn meanwhile is asked about next, and nothing in between.
async function ask() {
  askAgain = true;
  if (asking || noPicture) return;
  asking = true;
  answerText.ariaBusy = "true"; // a screen reader hears the answer to the whole stroke
  while (askAgain && !pad.empty) {
    askAgain = false;
    const { sheet } = pad;
    try {
      const answer = await predict();
      if (sheet === pad.sheet) show(answer);
    } catch (error) {
      if (sheet === pad.sheet) showNothing(error instanceof Refused && error.status === 422 ? "No digit seen yet" : "No answer");
      if (!(error instanceof Refused)) showTrouble("This is no picture that can be read.");
      else if (error.status === 422) caption.textContent = error.message;
      else showTrouble(error.message);
      if (error.status === 0) break;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  asking = false;
  answerText.ariaBusy = "false";
}

async function predict(query = "explain=true", image = pad.blob()) {
  const body = await image;
  return (await call(`predict?${query}`, { method: "POST", headers: { "Content-Type": body.type }, body })).json();
}

function show(answer) {
  latest = answer;
  const [probabilities] = answer.probabilities;
  const [label] = answer.labels;
  setClasses(probabilities.length, answer.label_names && Object.assign([...(classes.names ?? [])], { [label]: answer.label_names[0] }));
  answerText.textContent = `It is ${withArticle(classes.name(label))}: ${percent(probabilities[label])}`;
  probabilities.forEach((probability, at) => {
    const row = bars.children[at];
    row.className = at === label ? "best" : "";
    row.children[1].value = probability;
    row.children[2].textContent = percent(probability);
  });
  const [picture] = answer.pictures;
  seen.src = picture.image;
  seen.alt = "What the network was given";
  seen.hidden = false;
  const inverted = matchMedia("(prefers-color-scheme: dark)").matches ? " (this dark page shows it inverted)" : "";
  caption.textContent = `Given to the network; sent was ${picture.polarity}${inverted}, ${picture.box[2]} × ${picture.box[3]} pixels`;
  showWhetherToTeach();
  $("#keep").disabled = false;
}

function showNothing(text) {
  latest = null;
  answerText.textContent = text;
  for (const row of bars.children) {
    row.className = "";
    row.children[1].value = 0;
    row.children[2].textContent = "";
  }
  seen.hidden = true;
  caption.textContent = "";
  showWhetherToTeach();
  $("#keep").disabled = true;
}

function showWhetherToTeach() {
  $("#teach").disabled = !latest || hindrance.closed || Boolean(hindrance.paused);
  $("#teach-hint").textContent = hindrance.closed ? keyText("teaching wants") : hindrance.paused;
}

// As it is spoken: an 8, an 11, an 18, an 80.
function withArticle(name) {
  return `${/^([aeiou]|8|1[18]$)/i.test(name) ? "an" : "a"} ${name}`;
}

// names: of the classes, as far as they are known; null leaves them
export function setClasses(count, names) {
  names ??= classes.names;
  if (classes.count === count && String(names) === String(classes.names)) return;
  Object.assign(classes, { count, names });
  const labels = Array.from({ length: count }, (_, label) => label);
  for (const list of [bars, $("#classes")]) list.classList.toggle("named", classes.named);
  bars.replaceChildren(
    ...labels.map((label) =>
      element(
        "li",
        {},
        element("span", { className: "name", textContent: classes.name(label), title: classes.name(label) }),
        element("meter", { max: 1, value: 0, ariaLabel: `Probability of ${classes.name(label)}` }),
        element("span"),
      ),
    ),
  );
  $("#classes").replaceChildren(
    ...labels.map((label) =>
      element("button", {
        type: "button",
        textContent: classes.name(label),
        onclick: ({ detail }) => detail === 2 || attempt(() => teach(label)), // a double click is one lesson
      }),
    ),
  );
  news.dispatchEvent(new Event("classes"));
}

async function teach(label) {
  if (!latest || teaching) return;
  teaching = true;
  try {
    await lessonIn(label, latest);
  } finally {
    teaching = false;
  }
}

async function lessonIn(label, before) {
  const { drawn } = pad;
  const image = await pad.blob();
  const form = new FormData();
  form.append("image", image, "drawing");
  form.append("labels", String(label));
  const step = await (await change("train-step", { method: "POST", body: form })).json();
  const after = await predict("explain=true", image);
  if (drawn === pad.drawn) show(after); // else what is drawn by now is asked about anyhow
  taught = step.model_version;
  const was = before.probabilities[0][label];
  const is = after.probabilities[0][label];
  lesson.textContent =
    `Version ${step.model_version}: ${classes.name(label)} was ${percent(was)}, is ${percent(is)}. ` +
    `Loss before the step ${step.loss.toFixed(3)}.`;
  undo.textContent = `Undo: back to version ${taught - 1}`;
  undo.hidden = false;
  news.dispatchEvent(new Event("changed"));
}

undo.addEventListener("click", () =>
  attempt(async () => {
    const back = await (await change("rollback", json("POST", { model_version: taught - 1 }))).json();
    lesson.textContent =
      `Version ${back.model_version} has the weights of version ${back.source_version} again` +
      (back.model_version > taught + 1 ? ", so what was learnt after it is undone, too." : ".");
    undo.hidden = true;
    (pad.empty ? $("#clear") : $("#classes button")).focus();
    await ask();
    news.dispatchEvent(new Event("changed"));
  }),
);

$("#clear").addEventListener("click", () => {
  pad.clear();
  showNothing("Nothing drawn yet");
  lesson.textContent = "";
});

$("#keep").addEventListener("click", () =>
  attempt(async () => {
    await predict("remember=true");
    lesson.textContent = "It waits for a label.";
    news.dispatchEvent(new Event("changed"));
  }),
);

const file = $("#file");
file.addEventListener("change", () => {
  if (file.files[0]) take(file.files[0]);
  file.value = "";
});
document.addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (pasted) take(pasted);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});

function take(picture) {
  attempt(async () => {
    if (noPicture) throw new Error(noPicture);
    if (!["image/png", "image/jpeg"].includes(picture.type)) throw new Error("Only PNG and JPEG pictures are read.");
    await pad.show(picture).catch(() => {
      throw new Error("This is no picture that can be read.");
    });
  });
}

seen.addEventListener("load", () => fit(seen, seen.naturalWidth, seen.naturalHeight, SIDE));
news.addEventListener("hindrance", showWhetherToTeach);

// Of a network whose input is no picture it is said at once.
let known = false;
async function lookAtShape() {
  if (known) return;
  const { schemas } = (await (await call("openapi.json")).json()).components;
  known = true;
  if (schemas.Rows.minItems) return;
  noPicture =
    `This network takes ${schemas.FlatImage.minItems} numbers that are no picture: there is nothing to draw. ` +
    "The HTTP interface takes them.";
  $("#paper").hidden = true;
  showNothing(noPicture);
}

const tryToLookAtShape = () => lookAtShape().catch(() => {}); // whoever looks what is new says that the service is away
news.addEventListener("back", tryToLookAtShape);
tryToLookAtShape();

for (const name of ["newer", "back"]) news.addEventListener(name, () => pad.empty || ask());
