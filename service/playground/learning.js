// The rolling figures, by class too, and whether it learns.

import { act } from "./acts.js";
import { $, element } from "./dom.js";
import { ask, json } from "./http.js";
import { percent, say } from "./say.js";
import { classes, hindrance, look, on, state, takeLearning } from "./state.js";

const pause = $("#pause");
const said = $("#pause-text");
/** @type {any} */
let last = null;

/** @param {any} learning */
function show(learning) {
  last = learning;
  const { windows, chosen, unlabelled, alarm, reason } = learning;
  const [window] = windows;
  $("#state").textContent = say(`state.${learning.state}`);
  pause.textContent = say(state.paused === null ? "pause" : "resume");
  $("#reason").textContent = reason ?? "";
  $("#figures").textContent = window.count
    ? say("figures", { count: window.count, share: percent(window.accuracy), loss: window.loss.toFixed(3) })
    : say("no-figures");
  const others = [];
  if (chosen?.count) others.push(say("figures-chosen", { count: chosen.count, share: percent(chosen.accuracy) }));
  if (unlabelled?.first.count) others.push(answered(unlabelled));
  if (alarm.changed) others.push(say("figures-changed", { version: alarm.changed.model_version }));
  $("#figures-other").textContent = others.join(" ");
  const widest = windows.findLast((/** @type {any} */ one) => one.count > 0) ?? window;
  const known = widest.by_class.filter((/** @type {any} */ one) => one.count);
  $("#by-class").replaceChildren(
    ...known.map((/** @type {any} */ one) =>
      element(
        "li",
        { title: say("by-class-of", { name: classes.name(one.label), share: percent(one.accuracy), count: one.count }) },
        element("span", { className: "column" }, element("i")),
        element("b", { textContent: classes.name(one.label) }),
        element("span", { className: "away", textContent: percent(one.accuracy) }),
      ),
    ),
  );
  known.forEach((/** @type {any} */ one, /** @type {number} */ at) => ($("#by-class").children[at].querySelector("i").style.height = `${100 * one.accuracy}%`));
}

/** How sure it is of what nobody has labelled, and how much it refuses: by now, and at first. @param {any} unlabelled */
function answered({ first, last }) {
  const shares = [last.confidence, first.confidence, last.refused ?? 0, first.refused ?? 0].map(percent);
  return say("figures-unlabelled", { confidence: shares[0], confidenceFirst: shares[1], refused: shares[2], refusedFirst: shares[3] });
}

function showHindrance() {
  const closed = hindrance()?.[0] === "needs-key";
  pause.disabled = closed;
  if (!closed) return;
  $("#figures").textContent = say("needs-key");
  $("#state").textContent = $("#reason").textContent = "";
}

pause.addEventListener(
  "click",
  act(said, async () => {
    const wanted = state.paused === null ? { state: "paused", reason: say("paused-reason") } : { state: "learning" };
    takeLearning(await ask("learning", json("PUT", wanted)));
    look();
  }),
);

on("learning", show);
on("network", showHindrance);
on("language", () => {
  if (last && state.may.teach) show(last);
  showHindrance();
});
