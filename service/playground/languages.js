// The choice of the language, and the page's own words in it.

import { $, element } from "./dom.js";
import { LANGUAGES, language, load, translate } from "./say.js";
import { tell } from "./state.js";

const AGAIN = 1000; // milliseconds until the messages are asked for again

const choice = $("#language");
choice.append(...Object.entries(LANGUAGES).map(([value, textContent]) => element("option", { value, textContent, lang: value })));
choice.addEventListener("change", async () => {
  await load(choice.value);
  speak();
});

function speak() {
  choice.value = language;
  translate();
  tell("language");
}

/** Until the page can speak. */
export async function begin() {
  while (!(await load().catch(() => false))) {
    $("#trouble").hidden = false; // its own words are English
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
  $("#trouble").hidden = true;
  speak();
}
