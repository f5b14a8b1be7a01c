// What is done with one model from its card: a new key, or setting it aside. The dialog says what either does.

import { act, sayAt } from "./acts.js";
import { $ } from "./dom.js";
import { ask } from "./http.js";
import { addKey, showKeys } from "./keys.js";
import { look } from "./roster.js";
import { say } from "./say.js";
import { on } from "./state.js";

/** @typedef {import("./cards.js").Card} Card */

const dialog = $("#more-dialog");
/** @type {Card | null} */
let open = null;

function show() {
  if (!open) return;
  const { name } = open;
  $("#more-title").textContent = name;
  $("#new-key-text").textContent = say("wall.new-key-text", { name });
  $("#set-aside-text").textContent = say("wall.set-aside-text", { name });
}

on("more", (card) => {
  open = card;
  sayAt($("#more-text"), "");
  show();
  dialog.showModal();
});
on("language", show);

/** @param {(card: Card) => Promise<void>} run */
const once = (run) => act($("#more-text"), async () => open && run(open));

$("#new-key").addEventListener(
  "click",
  once(async ({ name, path }) => {
    const { key } = await ask(`${path}/key`, { method: "POST" });
    dialog.close();
    addKey(name, key);
    showKeys();
  }),
);
$("#set-aside").addEventListener(
  "click",
  once(async ({ name, path }) => {
    const { store } = await ask(path, { method: "DELETE" });
    dialog.close();
    await look();
    sayAt($("#wall-said"), say("wall.was-set-aside", { name, store }));
  }),
);
$("#close-more").addEventListener("click", () => dialog.close());
