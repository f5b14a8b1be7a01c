// The log, newest first, with a way back to each version.

import { attempt, call, change, element, hindrance, json, keyText, news, percent } from "./service.js";

const $ = (name) => document.querySelector(name);
const body = $("#versions");
const older = $("#older");
const said = $("#versions-text");
const SHOWN = 50;

let newest = 0;
let before = null;

// Only what is new is put in, so that the row which has the focus keeps it.
export function showVersions({ versions, next_before }) {
  const added = versions.filter(({ model_version }) => model_version > newest).slice(0, SHOWN);
  if (!added.length) return;
  if (added.length === SHOWN || !newest) {
    body.replaceChildren();
    before = added.length < versions.length ? added.at(-1).model_version : next_before;
    older.hidden = before === null;
  }
  newest = added[0].model_version;
  body.prepend(...added.map(row));
  [...body.rows].forEach((line, at) => (line.querySelector("button").hidden = at === 0)); // to where it is already
}

function row(version) {
  const back = element("button", {
    type: "button",
    textContent: "Go back",
    ariaLabel: `Go back to version ${version.model_version}`,
    onclick: () => attempt(() => goBack(version.model_version)),
  });
  const kind = version.event ?? version.kind;
  const source = version.source_version === null ? "" : ` to ${version.source_version}`;
  return element(
    "tr",
    {},
    element("th", { scope: "row", textContent: version.model_version }),
    element("td", { textContent: kind + source, title: version.reason ?? "" }),
    element("td", { textContent: version.accuracy === null ? "" : percent(version.accuracy) }),
    element("td", { textContent: version.loss === null ? "" : version.loss.toFixed(3) }),
    element("td", { textContent: new Date(version.created_at).toLocaleTimeString() }),
    element("td", {}, back),
  );
}

async function goBack(model_version) {
  const version = await (await change("rollback", json("POST", { model_version }))).json();
  said.textContent = `Version ${version.model_version} has the weights of version ${version.source_version}.`;
  const list = $(".scroll");
  list.focus({ preventScroll: true });
  list.scrollTop = 0; // where the new version will be
  news.dispatchEvent(new Event("changed"));
}

older.addEventListener("click", () =>
  attempt(async () => {
    const page = await (await call(`versions?limit=${SHOWN}&before=${before}`)).json();
    body.append(...page.versions.map(row));
    before = page.next_before;
    older.hidden = before === null;
  }),
);

let closed = false;
news.addEventListener("hindrance", () => {
  if (hindrance.closed) said.textContent = keyText("the versions want");
  else if (closed) said.textContent = "";
  closed = hindrance.closed;
});

news.addEventListener("key", () => {
  newest = 0;
});
