// Labels that look wrong: each is kept, changed, or taken out. A row stays where it is, whatever became of it.

import { act, change, sayAt } from "./acts.js";
import { $, element } from "./dom.js";
import { ask, call, json } from "./http.js";
import { readNpz } from "./npz.js";
import { dataUrl } from "./picture.js";
import { percent, say } from "./say.js";
import { read, write } from "./storage.js";
import { classes, hindrance, on, state } from "./state.js";

const SHOWN = 8;
const KEPT = "twolayernet-right";

const panel = $("#suspicious-panel");
const list = $("#suspicious");
const said = $("#suspicious-text");

/** @typedef {{model_version: number, index: number, label: number, predicted: number, probability: number, source: string | null}} Label */

/** Those of which somebody said here that they are right. */
const right = new Set(read("sessionStorage", KEPT).split(" ").filter(Boolean));
/** @param {Label} label */
const nameOf = ({ model_version, index, label }) => `${state.store}/${model_version}/${index}/${label}`;

async function load() {
  const { labels } = await ask(`labels?order=suspicious&limit=${SHOWN + Math.min(right.size, 90)}`);
  const wrong = labels.filter((/** @type {Label} */ one) => one.label !== one.predicted && !right.has(nameOf(one))).slice(0, SHOWN);
  const rows = await Promise.all(wrong.map(rowOf));
  list.replaceChildren(...rows);
  sayAt(said, wrong.length ? "" : say("nothing-suspicious"));
}

/** @param {Label} label */
async function rowOf(label) {
  const { model_version, index, predicted, probability, source } = label;
  const picture = await (await call(`examples/${model_version}/${index}/image`)).blob();
  const text = say(source ? "suspect-by" : "suspect", {
    name: classes.quoted(label.label),
    predicted: classes.quoted(predicted),
    share: percent(probability),
    version: model_version,
    source: source ?? "",
  });
  const became = element("p", { className: "said" });
  became.role = "status";
  const buttons = element("div", { className: "buttons" });
  const row = element("li", {}, element("img", { src: await dataUrl(picture), alt: "" }), element("div", {}, element("p", { textContent: text }), buttons, became));
  const done = (/** @type {string} */ what) => {
    buttons.replaceChildren();
    sayAt(became, what);
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
  };
  const button = (/** @type {string} */ textContent, /** @type {(event: any) => unknown} */ run) => {
    const made = element("button", { type: "button", textContent });
    made.addEventListener("click", act(became, run));
    return made;
  };
  const other = element("select", { ariaLabel: say("it-is-other") }, element("option", { value: "", textContent: say("it-is-other") }));
  other.append(...Array.from({ length: classes.count }, (_, value) => element("option", { value, textContent: classes.name(value) })));
  other.addEventListener("change", () => other.value !== "" && relabelled(Number(other.value)));
  const relabelled = act(became, async (/** @type {number} */ to) => {
    const labels = (await labelsOf(model_version)).map((old, at) => (at === index ? to : old));
    const made = await change("relabel", json("POST", { model_version, labels }));
    done(say("relabelled", { version: made.model_version, name: classes.quoted(to) }));
  });
  buttons.append(
    button(say("it-is-right"), () => {
      right.add(nameOf(label));
      write("sessionStorage", KEPT, [...right].join(" "));
      done(say("left-as-it-is"));
    }),
    button(say("it-is-a", { name: classes.quoted(predicted) }), () => relabelled(predicted)),
    other,
    takeOut(label, button, done),
  );
  return row;
}

/**
 * A lesson of several examples is taken out as a whole: that is said before it is done.
 * @param {Label} label @param {(text: string, run: (event: any) => unknown) => any} button @param {(what: string) => void} done
 */
function takeOut({ model_version }, button, done) {
  let agreed = 1;
  const made = button(say("take-out"), async () => {
    const { length: count } = await labelsOf(model_version);
    if (count > agreed) {
      agreed = count;
      made.textContent = say("take-out-all", { count });
      return;
    }
    const { model_version: version } = await change("unlearn", json("POST", { model_versions: [model_version] }));
    done(say("unlearnt", { version, to: model_version }));
  });
  return made;
}

/** The labels of a train-step. @param {number} version @returns {Promise<number[]>} */
async function labelsOf(version) {
  const answer = await call(`examples?after=${version - 1}&limit=1`);
  const { t, model_version } = /** @type {any} */ (await readNpz(await answer.arrayBuffer()));
  return [...t.data].filter((_, at) => model_version.data[at] === version).map(Number);
}

const look = act(said, load);
$("#look-again").addEventListener("click", look);
let looked = false;
panel.addEventListener("toggle", () => {
  if (!panel.open || looked || hindrance()?.[0] === "needs-key") return;
  looked = true;
  look({});
});
on("network", () => {
  looked = false;
  if (hindrance()?.[0] === "needs-key") {
    list.replaceChildren();
    sayAt(said, say("needs-key"));
  }
});
