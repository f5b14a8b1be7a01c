// Draw, see the answer, teach the right one, take that back.

import { Pad } from "./pad.js";
import { Refused, attempt, call, change, classes, element, json, news, percent, showTrouble } from "./service.js";

const $ = (name) => document.querySelector(name);
const answerText = $("#answer");
const bars = $("#bars");
const seen = $("#seen");
const caption = $("#seen-caption");
const lesson = $("#lesson");
const undo = $("#undo");

const PAUSE = 60; // milliseconds between an answer and the next question, while somebody draws

let latest = null; // the answer to what is on the paper
let asking = false;
let askAgain = false;
let taught = null; // the version that a lesson made
let teaching = false;

const pad = new Pad($("#pad"), ask);

// One request at a time; what was drawn meanwhile is asked about next, and nothing in between.
async function ask() {
  askAgain = true;
  if (asking) return;
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
  answerText.textContent = `It is a ${classes.name(label)}: ${percent(probabilities[label])}`;
  probabilities.forEach((probability, at) => {
    const row = bars.children[at];
    row.className = at === label ? "best" : "";
    row.children[0].textContent = classes.name(at);
    row.children[1].value = probability;
    row.children[2].textContent = percent(probability);
  });
  const [picture] = answer.pictures;
  seen.src = picture.image;
  seen.alt = "What the network was given";
  seen.hidden = false;
  caption.textContent = `Given to the network: ${picture.polarity}, ${picture.box[2]} × ${picture.box[3]} pixels`;
  $("#teach").disabled = false;
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
  $("#teach").disabled = true;
  $("#keep").disabled = true;
}

// names: of the classes, as far as they are known; null leaves them
export function setClasses(count, names) {
  names ??= classes.names;
  if (classes.count === count && String(names) === String(classes.names)) return;
  Object.assign(classes, { count, names });
  const labels = Array.from({ length: count }, (_, label) => label);
  bars.replaceChildren(
    ...labels.map((label) =>
      element(
        "li",
        {},
        element("span", { textContent: classes.name(label) }),
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
    if (!["image/png", "image/jpeg"].includes(picture.type)) throw new Error("Only PNG and JPEG pictures are read.");
    await pad.show(picture).catch(() => {
      throw new Error("This is no picture that can be read.");
    });
  });
}

for (const name of ["newer", "back"]) news.addEventListener(name, () => pad.empty || ask());
