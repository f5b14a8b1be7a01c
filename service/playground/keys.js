// The sheet of keys, to be printed and cut: the page is the only place that has them, and only until it is left.

import { $, element } from "./dom.js";
import { qr } from "./qr.js";
import { say } from "./say.js";
import { on } from "./state.js";

const sheet = $("#keys");
const list = $("#key-list");
/** @type {Map<string, string>} key by name */
const keys = new Map();
let isPrinted = true;

/** @param {string} name @param {string} key */
export function addKey(name, key) {
  keys.set(name, key);
  isPrinted = false;
}

export function showKeys() {
  show();
  sheet.hidden = false;
  $("#keys-title").focus();
}

function show() {
  list.replaceChildren(
    ...[...keys].map(([name, key]) => {
      const [service, path] = [new URL(".", document.baseURI).href, `models/${name}/`];
      const code = qr(`${service}${path}#key=${key}`, say("wall.code-of", { name }));
      const text = element("div", {}, element("b", { textContent: name }), element("span", {}, service, element("wbr"), path), element("code", { textContent: key }));
      return element("li", {}, ...(code ? [code] : []), text);
    }),
  );
}

$("#print").addEventListener("click", () => window.print());
window.addEventListener("afterprint", () => {
  if (!sheet.hidden) isPrinted = true;
});
$("#put-away").addEventListener("click", () => {
  if (!isPrinted && !window.confirm(say("wall.not-printed"))) return;
  keys.clear();
  isPrinted = true;
  sheet.hidden = true;
  list.replaceChildren();
  $("#make-panel summary").focus();
});
window.addEventListener("beforeunload", (event) => isPrinted || event.preventDefault());
on("language", show);
