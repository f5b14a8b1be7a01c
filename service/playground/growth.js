// "Something new": a class that the network does not have yet is added, and the drawing is taught as it.

import { act, change, sayAt } from "./acts.js";
import { shown } from "./answer.js";
import { $ } from "./dom.js";
import { json } from "./http.js";
import { say } from "./say.js";
import { classes, hindrance, look, on } from "./state.js";
import { teachAs } from "./teach.js";

const open = $("#something-new");
const form = $("#new-class");
const input = $("#new-name");
const said = $("#lesson");

const add = act(said, async () => {
  const name = input.value.trim();
  if (classes.names && !name) return input.focus();
  if (classes.names?.includes(name)) {
    sayAt(said, say("name-taken", { name }), true);
    return input.select();
  }
  await teachAs(async () => {
    const made = await change("classes", json("POST", classes.names ? { label_name: name } : {}));
    const label = made.classes - 1;
    close();
    await look(); // the buttons of the classes
    return { label, name: name ? `“${name}”` : String(label), grown: made.model_version };
  });
});

function close() {
  const hadFocus = form.contains(document.activeElement);
  form.hidden = true;
  input.value = "";
  open.ariaExpanded = classes.names ? "false" : null;
  if (hadFocus) open.focus();
}

function show() {
  const can = Boolean(shown.answer) && !hindrance();
  open.disabled = $("#teach-new").disabled = !can;
  open.textContent = say(classes.names ? "something-new" : "something-new-as", { name: classes.count });
  if (!classes.names || form.hidden) close();
}

open.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  if (!classes.names) return add(event);
  form.hidden = !form.hidden;
  open.ariaExpanded = String(!form.hidden);
  if (!form.hidden) input.focus();
});
form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  add({});
});
form.addEventListener("keydown", (/** @type {KeyboardEvent} */ { key }) => key === "Escape" && close());
for (const name of ["answer", "learning", "network", "language"]) on(name, show);
