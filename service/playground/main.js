// Looks what is new, whoever made it, and lets each part of the page show its share.

import { setClasses } from "./drawing.js";
import { showChart, showLearning } from "./learning.js";
import { fill } from "./queue.js";
import { Refused, call, hinder, news, setKey, showTrouble } from "./service.js";
import { showVersions } from "./versions.js";
import "./inside.js";

const $ = (name) => document.querySelector(name);
const EVERY = 1500; // milliseconds
const STEPS = 200;

let version = 0;
let looking = false;
let lookAgain = false;
let troubled = false;

async function look() {
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  try {
    const { model_version } = await (await call("readyz")).json();
    $("#version").textContent = model_version;
    const learning = await (await call("learning")).json();
    showLearning(learning);
    setClasses(learning.windows[0].by_class.length, learning.label_names);
    if (model_version !== version) {
      const page = await (await call(`versions?limit=${STEPS}`)).json();
      showVersions(page);
      showChart(page.versions);
      const first = version === 0;
      version = page.versions[0].model_version;
      if (!first) news.dispatchEvent(new Event("newer"));
    }
    await fill();
    if (troubled) showTrouble("");
    troubled = false;
  } catch (error) {
    troubled = true;
    if (error instanceof Refused && error.status === 401) hinder({ closed: true });
    showTrouble(error.message);
  }
  looking = false;
  if (lookAgain) {
    lookAgain = false;
    look();
  }
}

$("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("#key").value.trim());
  $("#key").value = "";
  $("#key-details").open = false;
  showTrouble("");
  version = 0;
  hinder({ closed: false });
  news.dispatchEvent(new Event("key"));
  look();
});

setClasses(10);
news.addEventListener("changed", look);
document.addEventListener("visibilitychange", () => document.hidden || look());
setInterval(() => document.hidden || look(), EVERY);
look();
