// The models, listed again and again while the page is seen: less often, the more there are.

import { explained, sayAt } from "./acts.js";
import { $ } from "./dom.js";
import { Failure, ask } from "./http.js";
import { say } from "./say.js";
import { look as lookAtKey, on, state, tell } from "./state.js";

const EVERY = 3000; // milliseconds, and
const EACH = 60; // for each model: to list one is to read its store
const PAGE = 100;

/** @typedef {{name: string, model_version?: number, error?: string}} Model */

/** @type {Model[] | null} null until they were listed */
export let models = null;
let looking = false;
let lookAgain = false;
let lookedAt = -Infinity;

/** One list at a time, and once more if this was called meanwhile. */
export async function look() {
  lookAgain = true;
  if (looking) return;
  looking = true;
  while (lookAgain && state.may.teach) {
    lookAgain = false;
    await list().catch(fail);
    lookedAt = performance.now();
  }
  looking = false;
}

async function list() {
  const listed = [];
  for (let after = ""; ; ) {
    const page = await ask(`models?limit=${PAGE}${after && `&after=${after}`}`);
    listed.push(...page.models);
    after = page.next_after ?? "";
    if (!after) break;
  }
  models = listed;
  show();
  tell("models", models);
}

/** @param {unknown} error */
function fail(error) {
  if (error instanceof Failure && error.status === 401) lookAtKey();
  else if (!(error instanceof Failure) || error.status) sayAt($("#wall-text"), explained(error), true);
}

function show() {
  $("#count").textContent = models ? say("wall.count", { count: models.length }) : "";
  sayAt($("#wall-text"), state.may.teach ? "" : say("needs-key"));
}

function lookIfDue() {
  if (document.hidden || performance.now() - lookedAt < EVERY + EACH * (models?.length ?? 0)) return;
  if (state.known) look();
  else lookAtKey();
}

setInterval(lookIfDue, EVERY / 6);
document.addEventListener("visibilitychange", lookIfDue);
on("network", () => {
  show();
  look();
});
on("language", show);
