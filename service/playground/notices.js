// What is wrong with the whole page: in one place, which stays in sight. And the key, where one is required.

import { $ } from "./dom.js";
import { key, line } from "./http.js";
import { say } from "./say.js";
import { look, on, state } from "./state.js";

const trouble = $("#trouble");
const details = $("#key-details");
const input = $("#key");

function show() {
  const name = state.replaced ? "problem.replaced" : line.away ? "problem.away" : line.late ? "late" : "";
  $("#trouble-text").textContent = name && say(name);
  trouble.hidden = !name;
  $("#reload").hidden = !state.replaced;
  document.body.classList.toggle("replaced", state.replaced);
}

function showKey() {
  details.hidden = state.may.predict && state.may.teach && !key.given;
  $("#key-text").textContent = say(state.keyRefused ? "key-refused" : !key.given ? "key-wanted" : state.may.teach ? "key-used" : "key-predict-only");
  $("#key-text").classList.toggle("wrong", state.keyRefused);
  $("#forget-key").hidden = !key.given;
  if (state.keyRefused) details.open = true;
}

/** Takes a key from the address, where a printed code has it: after the #, which is sent to nobody. */
function takeKey() {
  const carried = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!carried) return false;
  history.replaceState(null, "", location.pathname + location.search);
  key.given = carried;
  state.keyRefused = false;
  return true;
}

takeKey();
window.addEventListener("hashchange", () => takeKey() && look());
$("#reload").addEventListener("click", () => location.reload());
$("#key-form").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  if (!input.value.trim()) return input.focus();
  key.given = input.value.trim();
  input.value = "";
  state.keyRefused = false;
  await look();
  if (state.keyRefused) return input.focus();
  details.open = false;
  details.querySelector("summary").focus();
});
$("#forget-key").addEventListener("click", () => {
  key.given = "";
  input.focus();
  look();
});

line.addEventListener("change", show);
on("replaced", show);
on("network", showKey);
on("key", () => {
  showKey();
  look();
});
on("language", () => {
  show();
  showKey();
});
