// What the page says, in the language of its reader. A file of messages for each language: en.json has them all.

import { read, write } from "./storage.js";

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", ja: "日本語", ko: "한국어", zh: "中文" };
const KEPT = "twolayernet-language";

/** @type {Record<string, string>} */
let messages = {};
export let language = "en";

/** Those of the reader, in order: what was chosen here, then what the browser asks for. */
function wanted() {
  const tags = [read("localStorage", KEPT), ...navigator.languages].map((tag) => tag.split("-")[0]);
  return tags.find((tag) => tag in LANGUAGES) ?? "en";
}

/** @param {string} [chosen] */
export async function load(chosen) {
  if (chosen) write("localStorage", KEPT, chosen);
  language = chosen ?? wanted();
  messages = await (await fetch(`playground/${language}.json`)).json();
  document.documentElement.lang = language;
  return true;
}

/**
 * A message, with what stands in its braces. Where it depends on `count`, its name ends in `.one` or `.other`.
 * @param {string} name @param {Record<string, string | number>} [values]
 */
export function say(name, values = {}) {
  const form = `${name}.${"count" in values ? new Intl.PluralRules(language).select(Number(values.count)) : ""}`;
  const text = messages[form] ?? messages[`${name}.other`] ?? messages[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

/** @param {string} name */
export const isSaid = (name) => name in messages;

/** Puts the messages into the page's own markup. */
export function translate() {
  const all = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-say], [data-label]"));
  all.forEach((one) => {
    if (one.dataset.say) one.textContent = say(one.dataset.say);
    if (one.dataset.label) one.ariaLabel = say(one.dataset.label);
  });
}

/** One decimal for all, so that they line up. @param {number} share */
export function percent(share) {
  const text = share > 0 && share < 0.001 ? "< 0.1 %" : share < 1 && share > 0.999 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
  return text.replaceAll(" ", "\u00a0"); // no line ends within
}

/** @param {string} time ISO 8601 */
export function clock(time) {
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString(language) : at.toLocaleString(language, { dateStyle: "short", timeStyle: "short" });
}
