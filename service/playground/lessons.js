// The last lessons of this tab, as pictures: each can be taken back, and one that was not sent can be sent again.

import { act, change, sayAt } from "./acts.js";
import { remember } from "./answer.js";
import { $, element } from "./dom.js";
import { Failure, ask, call, json } from "./http.js";
import { percent, say } from "./say.js";
import { read, write } from "./storage.js";
import { on, state } from "./state.js";
import { send } from "./teach.js";

const SHOWN = 6;
const KEPT = "twolayernet-lessons";
const MOST_SINCE = 1000; // versions that are looked through

/**
 * key: makes it once, whatever is sent again; name: of its class, then; grown: the version that added its class, if that
 * was made for it; was, is: the probability of its label before and after it; picture: what the network was given;
 * unsent: what is to be sent, as a data: URL.
 * @typedef {{key: string, label: number, name: string, grown?: number, picture: string, state?: "sending" | "unsent" | "learnt" | "taken back",
 *   version?: number, was?: number, is?: number, unsent?: string, polarity?: string, source?: string, why?: string}} Lesson
 */

const list = $("#lessons");
const said = $("#lessons-text");
/** @type {Lesson[]} newest first */
let lessons = [];
/** @type {Map<string, any>} their rows */
const rows = new Map();

/** @param {Lesson} lesson */
export function addLesson(lesson) {
  lessons.unshift(lesson);
  const left = lessons.splice(SHOWN).filter((one) => one.state === "unsent"); // these stay until they are sent
  lessons.push(...left);
  return lesson;
}

/** Shows and keeps what has become of a lesson. @param {Lesson} [changed] */
export function keep(changed) {
  if (state.store) write("sessionStorage", KEPT, JSON.stringify({ store: state.store, lessons }));
  for (const [key, row] of rows) {
    if (!lessons.some((lesson) => lesson.key === key)) row.remove();
  }
  lessons.forEach((lesson) => {
    let row = rows.get(lesson.key);
    if (!row) {
      row = element("li");
      rows.set(lesson.key, row);
      if (lesson === changed) list.prepend(row);
      else list.append(row);
    } else if (changed && lesson !== changed) return;
    fill(row, lesson);
  });
  $("#lessons-empty").hidden = lessons.length > 0;
}

/** @param {any} row @param {Lesson} lesson */
function fill(row, lesson) {
  const { name } = lesson;
  const hadFocus = row.contains(document.activeElement);
  row.className = lesson.state === "unsent" ? "wrong" : "";
  const change = lesson.is === undefined ? "" : `${percent(lesson.was ?? 0)} → ${percent(lesson.is)}`;
  const what = lesson.state === "learnt" ? say("version-of", { version: lesson.version ?? "" }) : say(`lesson-${(lesson.state ?? "sending").replace(" ", "-")}`);
  const button = element("button", { type: "button" });
  if (lesson.state === "learnt") {
    Object.assign(button, { textContent: say("take-back"), ariaLabel: say("take-back-of", { version: lesson.version ?? "", name }) });
    button.addEventListener("click", act(said, () => takeBack(lesson)));
  } else {
    Object.assign(button, { textContent: say("try-again"), hidden: lesson.state !== "unsent" });
    button.addEventListener("click", act(said, () => send(lesson)));
  }
  row.replaceChildren(
    element("img", { src: lesson.picture, alt: "" }),
    element("span", {}, element("b", { textContent: name }), " ", element("small", { textContent: what }), element("br"), element("small", { textContent: change || (lesson.why ?? "") })),
    button,
  );
  if (hadFocus) (button.hidden ? list : button).focus();
}

/** @param {Lesson} lesson */
async function takeBack(lesson) {
  remember();
  const whole = lesson.grown ? await withItsClass(lesson) : null;
  const made = whole ?? (await change("unlearn", json("POST", { model_versions: [lesson.version] })));
  lesson.state = "taken back";
  keep(lesson);
  const text = say("taken-back", { version: made.model_version, name: lesson.name });
  sayAt(said, lesson.grown && !whole ? `${text} ${say("class-stays")}` : text);
}

/**
 * Goes back to before the class that was added for a lesson; null where other lessons are in force since then.
 * @param {Lesson} lesson
 */
async function withItsClass({ version, grown = 0 }) {
  const { headers } = await call("weights", { method: "HEAD", headers: { "X-Min-Model-Version": String(state.atLeast) } });
  const newest = Number(headers.get("X-Model-Version"));
  const since = newest - grown;
  if (since > MOST_SINCE) return null;
  const { versions } = await ask(`versions?limit=${since}`);
  const undone = new Set([version, ...versions.flatMap((/** @type {any} */ one) => one.unlearned ?? [])]);
  const isMine = (/** @type {any} */ one) => one.kind === "unlearn" || (one.kind === "train-step" && undone.has(one.model_version));
  if (versions[0].model_version !== newest || !versions.every(isMine)) return null;
  const back = json("POST", { model_version: grown - 1 });
  try {
    return await change("rollback", { ...back, headers: { ...back.headers, "If-Match": headers.get("ETag") } });
  } catch (error) {
    if (error instanceof Failure && error.kind === "weights-changed") return null;
    throw error;
  }
}

/** Those that this tab gave before it was loaded again. */
function restore() {
  if (lessons.length) return keep();
  try {
    const kept = JSON.parse(read("sessionStorage", KEPT) || "{}");
    if (kept.store === state.store) lessons = kept.lessons;
  } catch {
    lessons = []; // not what this release keeps
  }
  lessons.filter((lesson) => lesson.state === "sending").forEach((lesson) => (lesson.state = "unsent"));
  keep();
}

on("network", restore);
on("language", () => keep());
