// Many models at once, one after the other. Each is made or said why not; those that failed stay in the list of names.

import { act, explained, sayAt } from "./acts.js";
import { $, element, put } from "./dom.js";
import { Failure, ask, json } from "./http.js";
import { addKey, showKeys } from "./keys.js";
import { namesIn } from "./names.js";
import { look, models } from "./roster.js";
import { say } from "./say.js";
import { on } from "./state.js";

const TRIES = 3;
const PAUSE = 1000; // milliseconds before another one
const LISTED = 5; // names of the first, in the preview
const SHAPE = [28, 28];
const UNTRAINED = "";

const input = $("#names");
const choice = $("#beginning");
const classNames = $("#class-names");
const progress = $("#progress");
const said = $("#make-text");
let wasChosen = false;

/** What each begins with: a copy is of one version for all, though the other model learns meanwhile. */
async function beginning() {
  if (choice.value !== UNTRAINED) {
    const { model_version } = await ask(`models/${choice.value}`);
    return { copy_of: choice.value, model_version };
  }
  const names = classNames.value.split(/[\n,]/).map((/** @type {string} */ name) => name.trim()).filter(Boolean);
  return { new: { image_shape: SHAPE, ...(names.length ? { label_names: names } : { classes: 10 }) } };
}

/**
 * The key of a new model. A try whose answer was lost may have made it: then it gets another key.
 * @param {string} name @param {object} body @returns {Promise<string>}
 */
async function make(name, body) {
  for (let tries = 1; ; tries += 1) {
    try {
      return (await ask(`models/${name}`, json("PUT", body))).key;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (tries > 1 && error.kind === "model-exists") return (await ask(`models/${name}/key`, { method: "POST" })).key;
      if (tries === TRIES || (error.status && error.status !== 503 && error.status !== 429)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

async function makeAll() {
  const { names, unusable } = namesIn(input.value);
  if (unusable.length || !names.length) return input.focus();
  const body = await beginning();
  const there = [];
  const failed = [];
  let made = 0;
  let reason = "";
  Object.assign(progress, { max: names.length, value: 0, hidden: false });
  for (const [at, name] of names.entries()) {
    sayAt(said, say("wall.making", { at: at + 1, all: names.length, name }));
    try {
      addKey(name, await make(name, body));
      made += 1;
    } catch (error) {
      if (error instanceof Failure && error.kind === "model-exists") there.push(name);
      else {
        reason = explained(error);
        const isClosed = error instanceof Failure && error.status === 401; // to all others as well
        failed.push(...names.slice(at, isClosed ? undefined : at + 1));
        if (isClosed) break;
      }
    }
    progress.value = at + 1;
  }
  progress.hidden = true;
  input.value = failed.join("\n");
  preview();
  const parts = [say("wall.made", { count: made })];
  if (there.length) parts.push(say("wall.there", { names: there.join(", ") }));
  if (failed.length) parts.push(say("wall.failed", { names: failed.join(", "), reason }));
  sayAt(said, parts.join(" "), failed.length > 0);
  look();
  if (made) showKeys();
}

function preview() {
  const { names, unusable } = namesIn(input.value);
  const some = names.length > LISTED ? [...names.slice(0, LISTED - 1), "…", names[names.length - 1]] : names;
  const text = unusable.length ? say("wall.unusable", { names: unusable.join(", ") }) : names.length ? say("wall.will-make", { count: names.length, names: some.join(", ") }) : "";
  put($("#names-text"), text);
  $("#names-text").classList.toggle("wrong", unusable.length > 0);
  $("#make").disabled = !names.length || unusable.length > 0;
}

function showChoice() {
  const chosen = choice.value;
  const copies = (models ?? []).filter(({ error }) => !error).map(({ name }) => element("option", { value: name, textContent: say("wall.copy", { name }) }));
  choice.replaceChildren(...copies, element("option", { value: UNTRAINED, textContent: say("wall.untrained") }));
  const values = [...choice.options].map(({ value }) => value);
  choice.value = wasChosen && values.includes(chosen) ? chosen : "default";
  $("#untrained").hidden = choice.value !== UNTRAINED;
}

choice.addEventListener("change", () => {
  wasChosen = true;
  showChoice();
});
const run = act(said, makeAll);
$("#make-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  run({});
});
input.addEventListener("input", () => {
  preview();
  sayAt(said, "");
});
on("models", () => document.activeElement === choice || showChoice()); // one that is open is not changed
on("language", () => {
  showChoice();
  preview();
});
