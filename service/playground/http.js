// Requests to the service, relative to this page, so that they work under any prefix. Each has a time limit.

import { read, write } from "./storage.js";

const KEPT = "twolayernet-key";
const OF_MODEL = location.pathname.match(/\/models\/[^/]+\/$/)?.[0] ?? ""; // on the page of one of the models
const LIMIT = 20_000; // milliseconds
const LATE = 10_000; // after which the page says that no answer comes
const NAMED = "urn:twolayernet:problem:";

/** What came in place of an answer. kind: the problem's type, its status, or "away" or "slow" where there was none. */
export class Failure extends Error {
  /** @param {string} kind @param {number} status @param {{detail?: string, errors?: {msg: string}[]}} problem */
  constructor(kind, status = 0, problem = {}) {
    super(problem.detail ?? kind);
    this.kind = kind;
    this.status = status;
    this.reason = problem.errors?.[0]?.msg ?? "";
  }
}

/** Whether the service could not be reached, the last time it was asked; whether an answer is late. */
export const line = Object.assign(new EventTarget(), { away: false, late: false });

/** Of this tab: a key for each model, and one for the service, which opens every model that has none of its own here. */
export const key = {
  get given() {
    return read("sessionStorage", KEPT + OF_MODEL) || read("sessionStorage", KEPT);
  },
  set given(text) {
    if (!text && !read("sessionStorage", KEPT + OF_MODEL)) write("sessionStorage", KEPT, "");
    write("sessionStorage", KEPT + OF_MODEL, text);
  },
};

/**
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} [options]
 * @param {number} [limit] milliseconds
 */
export async function call(path, options = {}, limit = LIMIT) {
  const headers = key.given ? { ...options.headers, ...bearer(key.given) } : options.headers;
  const signal = AbortSignal.timeout(limit);
  const timer = setTimeout(() => set({ late: true }), LATE);
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, signal });
    set({ away: false, late: false });
  } catch (error) {
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    if (!slow) set({ away: true, late: false });
    throw new Failure(slow ? "slow" : "away");
  } finally {
    clearTimeout(timer);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const kind = problem.type?.startsWith(NAMED) ? problem.type.slice(NAMED.length) : String(answer.status);
  throw new Failure(kind, answer.status, problem);
}

/** The answer's JSON. @param {string} path @param {object} [options] @param {number} [limit] @returns {Promise<any>} */
export async function ask(path, options, limit) {
  const answer = await call(path, options, limit);
  try {
    return await answer.json();
  } catch {
    throw new Failure("slow"); // it was cut off
  }
}

/** @param {{away?: boolean, late?: boolean}} now */
function set(now) {
  const before = { away: line.away, late: line.late };
  Object.assign(line, now);
  if (before.away !== line.away || before.late !== line.late) line.dispatchEvent(new Event("change"));
}

/** A key in any alphabet: headers are bytes, which JavaScript writes as the first 256 characters. @param {string} text */
function bearer(text) {
  return { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(text))}` };
}

/** @param {string} method @param {object} body */
export function json(method, body) {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}
