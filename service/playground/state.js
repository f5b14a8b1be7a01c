// What is known of the service: asked for again and again while the page is seen, and passed on to its parts.

import { Failure, ask, key, line } from "./http.js";

const EVERY = 1500; // milliseconds
const FIGURES_EVERY = 20_000; // those of answers change without a new version
const STEPS = 200;

/**
 * atLeast: the version that this page's last change made: what follows comes from it or a newer one.
 * paused: why nothing is learnt; replaced: another store is behind this address now.
 */
export const state = {
  store: "",
  version: 0,
  atLeast: 0,
  may: { predict: true, teach: true },
  keyRefused: false,
  paused: /** @type {string | null} */ (null),
  replaced: false,
  known: false,
};

export const classes = {
  count: 10,
  names: /** @type {string[] | null} */ (null),
  /** @param {number} label */
  name: (label) => classes.names?.[label] ?? String(label),
  /** @param {number} label */
  quoted: (label) => (classes.names ? `“${classes.name(label)}”` : classes.name(label)),
  /** Ten, and a few that were added. */
  get areDigits() {
    return !classes.names && classes.count >= 10 && classes.count < 14;
  },
  get areLong() {
    return classes.names?.some((name) => name.length > 3) ?? false;
  },
};

/**
 * "network": what is served or what may be done is another; "versions", "learning": with the answers as `detail`;
 * "newer": the model has changed; "replaced"; "language".
 */
export const news = new EventTarget();
/** @param {string} name @param {any} [detail] */
export const tell = (name, detail) => news.dispatchEvent(new CustomEvent(name, { detail }));
/** @param {string} name @param {(detail: any) => void} listener */
export const on = (name, listener) => news.addEventListener(name, (event) => listener(/** @type {CustomEvent} */ (event).detail));

/** @type {Promise<void> | null} */
let looking = null;
let lookAgain = false;
let lookedAt = 0;
let listed = 0; // the version up to which the parts of the page have been told

/** Asks for what is new; one request at a time, and once more if this was called meanwhile. */
export function look() {
  lookAgain = true;
  looking ??= lookOn().finally(() => (looking = null));
  return looking;
}

async function lookOn() {
  while (lookAgain && !state.replaced) {
    lookAgain = false;
    await lookOnce().catch(reportKey);
  }
}

async function lookOnce() {
  const network = await ask("playground/network.json");
  if (state.store && network.store !== state.store) {
    state.replaced = true;
    tell("replaced");
    return;
  }
  takeNetwork(network);
  const { model_version } = network;
  const isNewer = state.known && model_version > state.version;
  state.version = Math.max(state.version, model_version);
  state.known = true;
  tell("looked");
  if (isNewer) tell("newer");
  if (!state.may.teach || (model_version === listed && performance.now() - lookedAt < FIGURES_EVERY)) return;
  lookedAt = performance.now();
  const [learning, versions] = await Promise.all([ask("learning"), ask(`versions?limit=${STEPS}`)]);
  listed = model_version; // both are of this version or a newer one, perhaps not of the same
  state.version = Math.max(state.version, versions.versions[0].model_version);
  takeLearning(learning);
  tell("versions", versions);
}

/** @param {any} network */
function takeNetwork({ store, model, may, classes: count, label_names, input_size, image_shape }) {
  const fresh = JSON.stringify([store, may, count, label_names]);
  if (fresh === seen) return;
  seen = fresh;
  Object.assign(state, { store, may });
  Object.assign(classes, { count, names: label_names });
  listed = 0;
  tell("network", { model, input_size, image_shape });
}
let seen = "";

/** @param {any} learning */
export function takeLearning(learning) {
  state.paused = learning.state === "paused" ? (learning.reason ?? "") : null;
  tell("learning", learning);
}

/** @param {unknown} error */
function reportKey(error) {
  if (!(error instanceof Failure)) throw error;
  if (error.status !== 401) return; // where the service is away or slow, `line` and the next look say so
  key.given = ""; // or this page would go on trying it, and be slowed down
  state.keyRefused = true;
  seen = "";
  tell("key");
}

/** A change was made by this page. @param {number} version */
export function changedTo(version) {
  state.atLeast = Math.max(state.atLeast, version);
  look();
}

/** Why nothing can be taught now, as a message's name and values; null where it can. @returns {[string, Record<string, string>] | null} */
export function hindrance() {
  if (!state.may.teach) return ["needs-key", {}];
  return state.paused === null ? null : ["paused", { reason: state.paused }];
}

export function start() {
  document.addEventListener("visibilitychange", () => document.hidden || look());
  line.addEventListener("change", () => line.away || look());
  setInterval(() => document.hidden || look(), EVERY);
  return look();
}
