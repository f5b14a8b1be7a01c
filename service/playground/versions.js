// The log, newest first. A row never moves under a pointer or the focus: newer ones wait behind a button.

import { act, sayAt } from "./acts.js";
import { $, element, roving } from "./dom.js";
import { ask } from "./http.js";
import { clock, percent, say } from "./say.js";
import { hindrance, on } from "./state.js";
import { openVersion } from "./version.js";

const list = $("#versions");
const newer = $("#newer");
const older = $("#older");
const said = $("#versions-text");
const SHOWN = 50;
const settleTabStop = roving(list, "button");

/** @typedef {{model_version: number, kind: string, event: string | null, reason: string | null, created_at: string, count: number | null,
 *   accuracy: number | null, loss: number | null, learning_rate: number | null, source: string | null, source_version: number | null,
 *   unlearned: number[] | null, label_name?: string}} Version */

/** @type {Version[]} newest first: those that are not shown yet, too */
let known = [];
let first = 0; // the newest that is shown
let most = SHOWN;
let awaited = 0; // a version that was asked for in the dialog: it is shown at once
let before = /** @type {number | null} */ (null);

/** @param {{versions: Version[], next_before: number | null}} page */
function take({ versions, next_before }) {
  const newest = known[0]?.model_version ?? 0;
  const added = versions.filter(({ model_version }) => model_version > newest);
  const isGap = added.length === versions.length;
  known = isGap ? versions : [...added, ...known];
  if (isGap) before = next_before;
  if (isGap && !first) most = SHOWN;
  show(!first || awaited > 0 || !isUnderHand());
  if (first >= awaited) awaited = 0;
}

/** Where somebody may be about to press, or reads by touch, what is pressed stays where it is. */
function isUnderHand() {
  return list.matches(":hover, :focus-within") || newer.matches(":hover, :focus") || matchMedia("(hover: none)").matches;
}

/** @param {boolean} withNewer */
function show(withNewer) {
  if (withNewer) first = known[0].model_version;
  const shown = known.filter(({ model_version }) => model_version <= first).slice(0, most);
  const rows = new Map([...list.children].map((row) => [row.id, row]));
  shown.forEach((version, at) => {
    const row = rows.get(`version-${version.model_version}`) ?? rowOf(version);
    rows.delete(row.id);
    if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
  });
  if (shown.length) rows.forEach((row) => row.remove());
  settleTabStop();
  const count = known.filter(({ model_version }) => model_version > first).length;
  newer.textContent = count ? say("newer", { count }) : "";
  newer.disabled = !count;
  older.hidden = shown.length >= known.length && before === null;
}

/** What kind of version it is, in words. @param {Version} version */
export function kindOf({ kind, event, source_version, unlearned, source, label_name }) {
  const versions = unlearned?.join(", ") ?? "";
  const text = say(`kind.${event ?? kind}`, { version: source_version ?? "", versions });
  const by = source ?? label_name;
  return by ? `${text} · ${by}` : text;
}

/** @param {Version} version */
function rowOf(version) {
  const { model_version, accuracy, created_at } = version;
  const button = element(
    "button",
    { type: "button", tabIndex: -1, title: version.reason ?? "" },
    element("b", { textContent: model_version }),
    element("span", { className: "kind", textContent: kindOf(version) }),
    element("span", { textContent: accuracy === null ? "" : percent(accuracy) }),
    element("time", { dateTime: created_at, textContent: clock(created_at) }),
  );
  button.addEventListener("click", (/** @type {MouseEvent} */ { detail }) => detail > 1 || openVersion(version));
  return element("li", { id: `version-${model_version}` }, button);
}

newer.addEventListener("click", () => {
  show(true);
  list.scrollTop = 0;
  list.querySelector("button")?.focus({ preventScroll: true });
});
list.addEventListener("pointerleave", () => known.length && show(!isUnderHand()));
list.addEventListener("focusout", () => setTimeout(() => known.length && show(!isUnderHand())));

older.addEventListener(
  "click",
  act(said, async () => {
    most += SHOWN;
    if (before !== null && known.filter(({ model_version }) => model_version <= first).length < most) {
      const page = await ask(`versions?limit=${SHOWN}&before=${before}`);
      known.push(...page.versions);
      before = page.next_before;
    }
    show(false);
  }),
);

$("#to-version").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  goTo({});
});
const goTo = act(said, async () => {
  const number = Number($("#version-number").value);
  const found = known.find(({ model_version }) => model_version === number);
  const page = found ? null : await ask(`versions?limit=1&before=${number + 1}`);
  const version = found ?? page.versions[0];
  if (version?.model_version === number) openVersion(version);
  else sayAt(said, say("problem.unknown-version"), true);
});

on("versions", take);
on("version", openVersion);
on("changed-here", (version) => {
  awaited = version;
  if (known[0]?.model_version >= version) show(true);
});
on("network", () => sayAt(said, hindrance()?.[0] === "needs-key" ? say("needs-key") : ""));
on("language", () => {
  list.replaceChildren();
  if (known.length) show(false);
});
