// The page: its parts, each of which listens to what state.js tells, and its language.

import { $, element } from "./dom.js";
import { LANGUAGES, language, load, say, translate } from "./say.js";
import { classes, on, start, tell } from "./state.js";
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

const AGAIN = 1000; // milliseconds until the messages are asked for again

function showTitles() {
  const kind = classes.areDigits ? "digits" : "others";
  $("#draw-title").textContent = say(`draw.${kind}`);
  $("#intro").textContent = say(`intro.${kind}`);
}

const choice = $("#language");
choice.append(...Object.entries(LANGUAGES).map(([value, textContent]) => element("option", { value, textContent, lang: value })));
choice.addEventListener("change", async () => {
  await load(choice.value);
  speak();
});

function speak() {
  choice.value = language;
  translate();
  showTitles();
  tell("language");
}

on("network", showTitles);
while (!(await load().catch(() => false))) {
  $("#trouble").hidden = false; // its own words are English
  await new Promise((resolve) => setTimeout(resolve, AGAIN));
}
$("#trouble").hidden = true;
speak();
start();
