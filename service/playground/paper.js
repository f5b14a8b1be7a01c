// What comes onto the paper: a drawing, or a picture that is chosen, photographed, pasted or dropped.

import { sayAt } from "./acts.js";
import { pad, showNone } from "./answer.js";
import { $ } from "./dom.js";
import { say } from "./say.js";
import { on } from "./state.js";

const said = $("#paper-text");
const paper = $("#paper");

$("#clear").addEventListener("click", () => {
  pad.clear();
  sayAt(said, "");
});
$("#undo-stroke").addEventListener("click", () => pad.undo());
$("#pad").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
  else if (event.key === "Escape") pad.clear();
  else return;
  event.preventDefault();
});

/** @param {Blob | undefined} file */
async function take(file) {
  if (!file) return sayAt(said, say("no-file"), true);
  if (paper.hidden) return;
  try {
    await pad.show(file);
    sayAt(said, "");
  } catch {
    sayAt(said, say("unreadable"), true);
  }
}

for (const input of [$("#file"), $("#camera")]) {
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
    input.value = "";
  });
}
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length || !(event.target instanceof HTMLInputElement)) take(files[0]);
});

let over = 0; // elements entered and not left
/** @param {number} change */
const hover = (change) => {
  over = change ? over + change : 0;
  paper.classList.toggle("over", over > 0);
};
document.addEventListener("dragenter", () => hover(1));
document.addEventListener("dragleave", () => hover(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  hover(0);
  take(event.dataTransfer?.files[0]);
});

on("drawn", () => {
  $("#hint").hidden = !pad.empty;
  $("#undo-stroke").disabled = pad.empty;
  if (!pad.isPicture) sayAt(said, "");
});

on("network", ({ input_size, image_shape }) => {
  paper.hidden = !image_shape;
  showNone(image_shape ? "" : say("no-picture", { count: input_size }));
});
