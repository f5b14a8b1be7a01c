// Calls to the service, relative to this page, so that they work under any prefix. What went wrong is shown in one place.

const KEY = "twolayernet-key";
let keyAskedFor = false;
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
  keyAskedFor = false;
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
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const detail = problem.detail ?? `${answer.status} ${answer.statusText}`;
  if (answer.status === 401) {
    if (!keyAskedFor) document.querySelector("#key-details").open = true; // once: whoever has none may close it
    keyAskedFor = true;
    throw new Refused(401, key ? "The key is not the one that is wanted." : "The service wants a key: see Key above.");
  }
  throw new Refused(answer.status, detail);
}

// A change of the model: sent once, even if it has to be repeated.
export function change(path, options = {}) {
  const random = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https alone
  const key = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return call(path, { ...options, headers: { "Idempotency-Key": key, ...options.headers } });
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

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 2 : 1)} %`;

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
