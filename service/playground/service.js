// Calls to the service, relative to this page, so that they work under any prefix. What went wrong is shown in one place.

const KEY = "twolayernet-key";
const TRIES = 3; // of a change that got no answer
const PATIENCE = 1000; // milliseconds before another one
let keyAskedFor = false;
let keyRefused = false;
let predictOnly = null; // a key that opens no more than that
let checking = null;
const ONLY_PREDICT = "This key opens predict only: draw, and see the answers.";
const OPENED_BY_ANY = /^(predict|accuracy|readyz|openapi\.json)(\?|$)/; // key, or by none
export const PAUSED = "urn:twolayernet:problem:learning-paused";
const trouble = document.querySelector("#trouble");

export class Refused extends Error {
  // type: the problem document's, which tells apart what has one status
  constructor(status, detail, type = "about:blank") {
    super(detail);
    this.status = status;
    this.type = type;
  }
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  keyAskedFor = keyRefused = false;
  predictOnly = checking = null;
}

export function showTrouble(text) {
  if (trouble.textContent !== text) trouble.textContent = text;
  trouble.hidden = !text;
}

let away = false;

// The answer, or Refused with what the service says about it; status 0 where there was no answer.
export async function call(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(KEY);
  if (key && key === predictOnly && !OPENED_BY_ANY.test(path)) throw new Refused(401, ONLY_PREDICT);
  const request = requestOf(path, { ...options, headers: key ? { ...headers, ...bearer(key) } : headers });
  let answer;
  try {
    answer = await fetch(request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    away = true;
    const text = "The service is away. This page goes on asking.";
    showTrouble(text);
    throw new Refused(0, text);
  }
  if (away) {
    away = false;
    showTrouble("");
    news.dispatchEvent(new Event("back"));
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const detail = problem.detail ?? `${answer.status} ${answer.statusText}`;
  if (problem.type === PAUSED) throw new Refused(answer.status, pausedText(problem.errors[0].msg), PAUSED);
  if (answer.status === 401) {
    if (key && !OPENED_BY_ANY.test(path) && (await opensPredict(key))) {
      predictOnly = key;
      throw new Refused(401, ONLY_PREDICT);
    }
    if (!keyAskedFor) document.querySelector("#key-details").open = true; // once: whoever has none may close it
    keyAskedFor = true;
    if (key && key === sessionStorage.getItem(KEY)) sessionStorage.removeItem(KEY); // or this page would go on trying it, and be slowed down
    keyRefused ||= Boolean(key);
    const wanted = "The service wants a key: see Key above.";
    throw new Refused(401, keyRefused ? `The key is not the one that is wanted. ${wanted}` : wanted);
  }
  throw new Refused(answer.status, detail, problem.type);
}

// What is wrong with the request itself is told from what went wrong on its way.
function requestOf(path, options) {
  try {
    return new Request(path, options);
  } catch (error) {
    throw new Refused(400, `This can't be asked: ${error.message}`);
  }
}

// A key in any alphabet: headers are bytes, which JavaScript writes as the first 256 characters.
function bearer(key) {
  return { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}` };
}

// Whether a key that was refused elsewhere is one for predictions, where these want one.
function opensPredict(key) {
  checking ??= (async () => {
    if ((await fetch("v2")).status !== 401) return false; // whatever key is sent: it proves nothing
    return (await fetch("v2", { headers: bearer(key) })).ok;
  })()
    .catch(() => false)
    .finally(() => (checking = null));
  return checking;
}

// Why there is nothing to be taught at the moment. closed: the key is missing; paused: in words; "" where neither is so.
export const hindrance = { closed: false, paused: "" };

export function hinder(changed) {
  if (Object.entries(changed).every(([name, value]) => hindrance[name] === value)) return;
  Object.assign(hindrance, changed);
  news.dispatchEvent(new Event("hindrance"));
}

export function pausedText(reason) {
  return `Learning is paused: ${reason.replace(/\.$/, "")}. “Go on learning” is beside the chart.`;
}

// what: that wants the key, with its verb
export function keyText(what) {
  return predictOnly ? `This key opens predict only: ${what} another one.` : `${what[0].toUpperCase()}${what.slice(1)} the key: see Key above.`;
}

// A change of the model: made once, even if it has to be asked for again because nothing came back.
export async function change(path, options = {}) {
  const random = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https alone
  const key = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const headers = { "Idempotency-Key": key, ...options.headers };
  for (let tries = 1; ; tries += 1) {
    try {
      return await call(path, { ...options, headers });
    } catch (error) {
      if (tries === TRIES || ![0, 503].includes(error.status)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PATIENCE));
  }
}

export function json(method, body) {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

// Runs what a button asks for, and says what went wrong.
export async function attempt(action) {
  try {
    await action();
    if (!away) showTrouble("");
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error.message);
  }
}

export function percent(share) {
  const digits = (100 * share).toFixed(share > 0.995 || share < 0.005 ? 2 : 1);
  return `${digits.replace(/\.0+$/, "")} %`;
}

// Makes a picture as large as fits into a square, and no other shape than it has.
export function fit(picture, width, height, side) {
  const scale = side / Math.max(width, height);
  picture.style.width = `${Math.max(2, Math.round(width * scale))}px`;
  picture.style.height = `${Math.max(2, Math.round(height * scale))}px`;
}

// What there is to call a class.
export const classes = {
  count: 0,
  names: null,
  name(label) {
    return this.names?.[label] ?? String(label);
  },
  get named() {
    return Array.from({ length: this.count }, (_, label) => this.name(label)).some((name) => name.length > 3);
  },
};

// Tells every part of the page that there is a newer version, or that a key was given.
export const news = new EventTarget();

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
