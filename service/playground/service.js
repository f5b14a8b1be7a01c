// Calls to the service, relative to this page, so that they work under any prefix. What went wrong is shown in one place.

const KEY = "twolayernet-key";
const TRIES = 3; // of a change that got no answer
const PATIENCE = 1000; // milliseconds before another one
let keyAskedFor = false;
let keyRefused = false;
const trouble = document.querySelector("#trouble");

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  keyAskedFor = keyRefused = false;
}

export function showTrouble(text) {
  if (trouble.textContent !== text) trouble.textContent = text;
  trouble.hidden = !text;
}

let away = false;

// The answer, or Refused with what the service says about it; status 0 where there was no answer.
export async function call(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(KEY);
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
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
  if (answer.status === 401) {
    if (!keyAskedFor) document.querySelector("#key-details").open = true; // once: whoever has none may close it
    keyAskedFor = true;
    if (key) sessionStorage.removeItem(KEY); // or this page would go on trying it, and be slowed down
    keyRefused ||= Boolean(key);
    const wanted = "The service wants a key: see Key above.";
    throw new Refused(401, keyRefused ? `The key is not the one that is wanted. ${wanted}` : wanted);
  }
  throw new Refused(answer.status, detail);
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

// What there is to call a class.
export const classes = {
  count: 0,
  names: null,
  name(label) {
    return this.names?.[label] ?? String(label);
  },
};

// Tells every part of the page that there is a newer version, or that a key was given.
export const news = new EventTarget();

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
