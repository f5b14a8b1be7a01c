// What buttons do: each act happens once, however often it is clicked, and its result is shown next to it.

import { put } from "./dom.js";
import { Failure, ask } from "./http.js";
import { isSaid, say } from "./say.js";
import { changedTo, state } from "./state.js";

const TRIES = 3; // of a change that got no answer
const PAUSE = 1000; // milliseconds before another one
const SOON = 400; // after which what is being waited for is shown
const LATE = 10_000; // after which the page says that it takes long
const APART = 500; // clicks that are closer are one act

/** @param {unknown} error */
export function explained(error) {
  if (!(error instanceof Failure)) throw error;
  const name = `problem.${error.kind}`;
  if (isSaid(name)) return say(name, { reason: error.reason });
  return say(error.status >= 500 ? "problem.500" : "problem.other", { detail: error.message });
}

/** @param {HTMLElement} place @param {string} text */
export function sayAt(place, text, isWrong = false) {
  put(place, text);
  place.classList.toggle("wrong", isWrong);
}

/**
 * A listener that runs an act, unless the last one is still on its way or began a moment ago: a double click is one act.
 * @param {HTMLElement} place where the page says what is wrong
 * @param {(event: any) => unknown} run
 */
export function act(place, run) {
  let busy = false;
  let began = -Infinity;
  return async (/** @type {any} */ event) => {
    const isClick = event?.detail > 0; // a key that is held down repeats, and its repeats are told apart
    if (busy || event?.detail > 1 || event?.repeat || (isClick && performance.now() - began < APART)) return;
    busy = true;
    began = performance.now();
    try {
      sayAt(place, "");
      await waitedFor(Promise.resolve(run(event)), place);
    } catch (error) {
      sayAt(place, explained(error), true);
    }
    busy = false;
  };
}

/**
 * Says at a place what is being waited for, should it take long.
 * @template T @param {Promise<T>} promise @param {HTMLElement} place @returns {Promise<T>}
 */
export async function waitedFor(promise, place, soon = "working") {
  const [text, classes] = [place.textContent ?? "", place.className];
  let said = "";
  const show = (/** @type {string} */ name) => {
    if (place.textContent !== (said || text)) return; // something else was said meanwhile
    said = say(name);
    sayAt(place, said);
  };
  const timers = [setTimeout(show, SOON, soon), setTimeout(show, LATE, "late")];
  try {
    return await promise;
  } finally {
    timers.forEach(clearTimeout);
    if (said && place.textContent === said) Object.assign(place, { textContent: text, className: classes });
  }
}

export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https alone
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A change of the model: made once, even if it has to be asked for again because nothing came back.
 * @param {string} path @param {any} options @param {string} [key] of an earlier try of the same change
 */
export async function change(path, options, key = newKey()) {
  if (state.replaced) throw new Failure("replaced");
  const headers = { "Idempotency-Key": key, ...options.headers };
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await ask(path, { ...options, headers });
      if (answer.model_version) changedTo(answer.model_version);
      return answer;
    } catch (error) {
      const mayPass = error instanceof Failure && (error.status === 0 || error.status === 503);
      if (tries === TRIES || !mayPass) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}
