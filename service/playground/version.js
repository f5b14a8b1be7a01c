// One version in a dialog: what it is, what it says to the drawing, and the way back to it.

import { act, change, sayAt, waitedFor } from "./acts.js";
import { pad, predict, question, remember } from "./answer.js";
import { $, element } from "./dom.js";
import { ask, json } from "./http.js";
import { clock, percent, say } from "./say.js";
import { classes, on, state, tell } from "./state.js";
import { kindOf } from "./versions.js";

const dialog = $("#version-dialog");
const said = $("#dialog-text");
const done = $("#versions-text");
const SEEN = 300; // milliseconds that a dialog is there before it is pressed

/** @typedef {import("./versions.js").Version} Version */
/** @type {Version | null} */
let open = null;
let openedAt = 0;

/** @param {Version} version */
export function openVersion(version) {
  open = version;
  openedAt = performance.now();
  fill(version);
  if (!dialog.open) dialog.showModal();
  tell("selected", version.model_version);
  preview(version);
  since(version);
}

/** @param {Version} version */
function fill(version) {
  const { model_version, created_at, count, accuracy, loss, learning_rate, reason } = version;
  $("#dialog-title").textContent = say("version-of", { version: model_version });
  const facts = [
    [say("fact.kind"), kindOf(version)],
    [say("fact.time"), clock(created_at)],
    [say("fact.reason"), reason],
    [say("fact.count"), count],
    [say("fact.accuracy"), accuracy === null ? null : percent(accuracy)],
    [say("fact.loss"), loss?.toFixed(3)],
    [say("fact.rate"), learning_rate?.toPrecision(3)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  $("#dialog-facts").replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]),
  );
  $("#go-back").textContent = say("go-back", { version: model_version });
  $("#go-back").hidden = model_version === state.version;
  $("#unlearn").hidden = version.kind !== "train-step";
  $("#unlearn").textContent = say("unlearn", { version: model_version });
  $("#dialog-preview").textContent = "";
  $("#dialog-since").textContent = "";
  sayAt(said, "");
}

/** What this version says to the drawing. @param {Version} version */
async function preview(version) {
  if (!pad.ready || !version) return;
  const place = $("#dialog-preview");
  const asked = predict(await pad.blob(), pad.polarity, `explain=true&model_version=${version.model_version}`);
  const answer = await waitedFor(asked, place).catch(() => null);
  if (open !== version || !answer) return;
  const [label] = answer.labels;
  place.textContent = say("it-would-say", { name: classes.quoted(label), share: percent(answer.probabilities[0][label]) });
}

/**
 * How many lessons the newest version contains that came after another one: not those that are taken back already.
 * @param {Version[]} versions newest first @param {number} after
 */
function lessonsSince(versions, after) {
  const undone = new Set();
  let newest = state.version;
  let count = 0;
  for (const { kind, model_version, source_version, unlearned } of versions) {
    if (model_version > newest) continue; // a rollback went back to before it
    if (model_version <= after || kind === "load") break;
    if (kind === "rollback") newest = source_version ?? 0;
    else if (kind === "unlearn") unlearned?.forEach((one) => undone.add(one));
    else if (kind === "train-step" && !undone.has(model_version)) count += 1;
  }
  return count;
}

/** How many lessons going back takes back. @param {Version} version */
async function since({ model_version }) {
  if (model_version === state.version) return;
  const count = state.version - model_version;
  const { versions } = await ask(`versions?limit=${Math.min(1000, count)}`).catch(() => ({ versions: [] }));
  if (open?.model_version !== model_version) return;
  const lessons = lessonsSince(versions, model_version);
  $("#dialog-since").textContent = say(lessons ? "takes-back" : "takes-nothing-back", { count: lessons });
}

/** @param {(version: Version) => Promise<string>} run returns what to say of it */
function once(run) {
  const acting = act(said, async () => {
    if (!open) return;
    remember();
    const text = await run(open);
    dialog.close();
    sayAt(done, text);
    tell("changed-here", state.atLeast);
    question();
  });
  return (/** @type {MouseEvent} */ event) => performance.now() - openedAt > SEEN && acting(event);
}

$("#go-back").addEventListener(
  "click",
  once(async ({ model_version }) => {
    const made = await change("rollback", json("POST", { model_version }));
    return say("gone-back", { version: made.model_version, to: made.source_version });
  }),
);
$("#unlearn").addEventListener(
  "click",
  once(async ({ model_version }) => {
    const made = await change("unlearn", json("POST", { model_versions: [model_version] }));
    return say("unlearnt", { version: made.model_version, to: model_version });
  }),
);
$("#close-dialog").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  const row = $(`#version-${open?.model_version ?? 0} button`);
  open = null;
  row?.focus({ preventScroll: true });
  tell("selected", null);
});
on("language", () => open && fill(open));
