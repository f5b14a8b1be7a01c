// The page: its parts, each of which listens to what state.js tells, and its language.

import { $ } from "./dom.js";
import { begin } from "./languages.js";
import { say } from "./say.js";
import { classes, on, start, state } from "./state.js";
import "./notices.js";
import "./paper.js";
import "./teach.js";
import "./growth.js";
import "./lessons.js";
import "./learning.js";
import "./chart.js";
import "./versions.js";
import "./version.js";
import "./queue.js";
import "./samples.js";
import "./suspicious.js";
import "./inside.js";
import "./thinking.js";
import "./code.js";
import "./presenter.js";

function showTitles() {
  const kind = classes.areDigits ? "digits" : "others";
  $("#draw-title").textContent = say(`draw.${kind}`);
  $("#intro").textContent = say(`intro.${kind}`);
}

/** Of the page of one of several models. @param {{model: string | null}} network */
function showName({ model }) {
  if (!model) return;
  $("h1").textContent = model;
  document.title = `${model} – TwoLayerNet`;
}

for (const name of ["network", "language"]) on(name, showTitles);
on("network", showName);
on("looked", () => ($("#version").textContent = String(state.version)));
await begin();
start();
