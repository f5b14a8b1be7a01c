// The classes as buttons: what is on the paper is taught as one of them, and what changed is shown.

import { act, change, explained, newKey, sayAt } from "./acts.js";
import { pad, predict, remember, shown, showAnswer } from "./answer.js";
import { $, element, roving } from "./dom.js";
import { addLesson, keep } from "./lessons.js";
import { dataUrl } from "./picture.js";
import { percent, say } from "./say.js";
import { classes, hindrance, on, state, tell } from "./state.js";

/** @typedef {import("./lessons.js").Lesson} Lesson */

const group = $("#classes");
const said = $("#lesson");
const settleTabStop = roving(group, "button");

function showClasses() {
  group.classList.toggle("named", classes.areLong);
  group.replaceChildren(
    ...Array.from({ length: classes.count }, (_, label) => element("button", { type: "button", textContent: classes.name(label), value: label })),
  );
  showWhetherToTeach();
}

function showWhetherToTeach() {
  const why = hindrance();
  const can = shown.answer && !why;
  for (const button of group.children) button.disabled = !can;
  settleTabStop();
  $("#teach-hint").textContent = why ? say(...why) : shown.answer ? "" : say("teach-hint");
  $("#keep").disabled = !shown.answer || !state.may.teach;
}

/**
 * Teaches what is on the paper now. as: its class, which may have to be made first.
 * @param {() => Promise<{label: number, name: string, grown?: number}>} as
 */
export async function teachAs(as) {
  const before = shown.answer;
  if (!before || hindrance()) return;
  const { drawn, polarity } = pad;
  const image = await pad.blob();
  const { label, name, grown } = await as();
  remember();
  const source = $("#source").value.trim();
  const lesson = addLesson({
    key: newKey(),
    label,
    name,
    grown,
    was: before.probabilities[0][label] ?? 0,
    picture: before.pictures[0].image,
    unsent: await dataUrl(image),
    polarity,
    source,
  });
  if (!(await send(lesson))) return;
  const after = await predict(image, polarity);
  lesson.is = after.probabilities[0][label];
  keep(lesson);
  if (drawn === pad.drawn) showAnswer(after, drawn); // else a newer drawing is asked about next
  sayAt(said, summary(lesson));
}

const teach = act(said, ({ label }) => teachAs(async () => ({ label, name: classes.quoted(label) })));

/** @param {Lesson} lesson */
export function summary({ version, name, was, is }) {
  const values = { version: version ?? "", name, was: percent(was ?? 0), is: percent(is ?? 0) };
  return say(is === undefined ? "learnt" : "lesson", values);
}

/** Whether the lesson was learnt. One that could not be sent is kept, to be sent again. @param {Lesson} lesson */
export async function send(lesson) {
  lesson.state = "sending";
  keep(lesson);
  try {
    const form = new FormData();
    form.append("image", blobOf(lesson.unsent ?? ""), "drawing");
    form.append("labels", String(lesson.label));
    if (lesson.polarity) form.append("polarity", lesson.polarity);
    if (lesson.source) form.append("source", lesson.source);
    const step = await change("train-step", { method: "POST", body: form }, lesson.key);
    Object.assign(lesson, { state: "learnt", version: step.model_version, unsent: undefined });
    sayAt(said, summary(lesson));
  } catch (error) {
    Object.assign(lesson, { state: "unsent", why: explained(error) });
    sayAt(said, `${say("not-learnt")} ${lesson.why}`, true);
  }
  keep(lesson);
  return lesson.version !== undefined;
}

/** Of a data: URL, which the page's policy lets nobody fetch. @param {string} url */
function blobOf(url) {
  const [head, data] = url.split(",");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

group.addEventListener("click", (/** @type {any} */ event) => {
  if (event.target.matches("button")) teach({ label: Number(event.target.value), detail: event.detail });
});

for (const place of [$("#pad"), $("#teach")]) {
  place.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target instanceof HTMLInputElement) return;
    const label = classOf(event.key);
    if (label >= 0) teach({ label, detail: 1 });
  });
}

/** The class that a key names, by its digit or its letter; -1 for none. @param {string} pressed */
export function classOf(pressed) {
  if (pressed.length !== 1) return -1;
  const names = Array.from({ length: classes.count }, (_, label) => classes.name(label));
  const exact = names.indexOf(pressed);
  const found = exact >= 0 ? exact : names.findIndex((name) => name.toLowerCase() === pressed.toLowerCase());
  return found < 0 && /[0-9]/.test(pressed) && Number(pressed) < classes.count && classes.count <= 10 ? Number(pressed) : found;
}

$("#keep").addEventListener(
  "click",
  act(said, async () => {
    await predict(await pad.blob(), pad.polarity, "remember=true");
    sayAt(said, say("kept"));
    tell("kept");
  }),
);
for (const name of ["answer", "learning", "network", "language"]) on(name, name === "network" ? showClasses : showWhetherToTeach);
on("drawn", () => pad.empty && sayAt(said, ""));
