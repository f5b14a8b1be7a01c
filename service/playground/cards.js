// The cards of the wall. What the list does not say is asked of one model after the other, of those in sight.

import { $, element, put } from "./dom.js";
import { Failure, ask, call } from "./http.js";
import { dataUrl } from "./picture.js";
import { percent, say } from "./say.js";
import { on, tell } from "./state.js";

const APART = 500; // milliseconds between two models that are asked, two or three requests each
const AGAIN = 5000; // until the same one is asked again
const MINUTE = 60_000;
const SEARCHED = 20; // versions, for the newest lesson

/** @typedef {import("./roster.js").Model} Model */
/** @typedef {{at: number, version: number}} Look */

export class Card {
  inSight = false;
  broken = false;
  version = 0;
  askedAt = -Infinity;
  asked = 0; // the version of what is shown
  /** @type {any} */
  learning = null;
  /** @type {Look[]} */
  looks = [];
  answered = ""; // the drawing and the version

  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.path = `models/${name}`;
    this.picture = element("img", { hidden: true });
    this.share = element("p", { className: "share" });
    this.count = element("p");
    this.rate = element("p", { className: "rate" });
    this.answer = element("p", { className: "says", hidden: true });
    this.error = element("p", { className: "wrong" });
    this.more = element("button", { type: "button", className: "dots", textContent: "…", hidden: name === "default" });
    this.more.addEventListener("click", () => tell("more", this));
    const head = element("div", { className: "head" }, element("h2", {}, element("a", { href: `${this.path}/`, textContent: name })), this.more);
    const picture = element("span", { className: "picture" }, this.picture);
    const facts = element("div", {}, this.share, this.count, this.rate);
    this.item = element("li", {}, head, element("div", { className: "facts" }, picture, facts), this.answer, this.error);
    this.item.id = `card-${name}`;
  }

  /** @param {Model} model */
  take({ model_version: version = 0, error = "" }) {
    const now = performance.now();
    if (version < this.version) Object.assign(this, { looks: [], asked: 0, answered: "" }); // another one has the name now
    this.version = version;
    this.broken = Boolean(error);
    if (version) this.looks.push({ at: now, version });
    while (this.looks.length > 2 && this.looks[1].at < now - MINUTE) this.looks.shift();
    put(this.error, error);
    this.show();
  }

  async ask() {
    const { version } = this;
    this.askedAt = performance.now();
    const [learning] = await Promise.all([ask(`${this.path}/learning`), this.#askForPicture(version)]);
    this.learning = learning;
    this.asked = version;
    this.show();
  }

  /** Of the newest lesson: from the second time on, that is the newest version, or is shown already. @param {number} version */
  async #askForPicture(version) {
    let lesson = version;
    if (!this.asked) {
      const { versions } = await ask(`${this.path}/versions?limit=${SEARCHED}`);
      lesson = versions.find((/** @type {any} */ { kind }) => kind === "train-step")?.model_version;
    }
    const png = lesson ? await this.#image(lesson) : null;
    if (!png) return;
    this.picture.src = await dataUrl(png);
    this.picture.hidden = false;
  }

  /** @param {number} version @returns {Promise<Blob | null>} null for one that is no lesson */
  async #image(version) {
    try {
      return await (await call(`${this.path}/examples/${version}/0/image`)).blob();
    } catch (error) {
      if (error instanceof Failure && error.status === 404) return null;
      throw error;
    }
  }

  show() {
    const [window] = this.learning?.windows ?? [];
    put(this.share, window?.count ? percent(window.accuracy) : "");
    put(this.count, window?.count ? say("wall.of-last", { count: window.count }) : window ? say("wall.untaught") : "");
    const count = this.looks.length > 1 ? this.looks[this.looks.length - 1].version - this.looks[0].version : 0;
    const isPaused = this.learning?.state === "paused";
    put(this.rate, isPaused ? say("state.paused") : this.looks.length > 1 ? say("wall.lessons", { count }) : "");
    this.picture.alt = say("wall.learnt-last", { name: this.name });
    this.more.ariaLabel = say("wall.more", { name: this.name });
  }
}

const list = $("#cards");
/** @type {Map<string, Card>} */
const cards = new Map();

/** Those whose model can be asked, in the order of the page. */
export const inSight = () => [...cards.values()].filter((card) => card.inSight && !card.broken && card.version);

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const card = cards.get(target.id.slice("card-".length));
    if (card) card.inSight = isIntersecting;
  }
  tell("in-sight");
});

/** @param {Model[]} models */
function show(models) {
  const names = new Set(models.map(({ name }) => name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    observer.unobserve(card.item);
    card.item.remove();
    cards.delete(name);
  }
  models.forEach((model, at) => {
    const card = cards.get(model.name) ?? new Card(model.name);
    cards.set(model.name, card);
    card.take(model);
    if (list.children[at] === card.item) return;
    list.insertBefore(card.item, list.children[at] ?? null);
    observer.observe(card.item);
  });
}

function askNext() {
  if (document.hidden) return;
  const due = performance.now() - AGAIN;
  const waiting = inSight().filter((card) => card.asked !== card.version && card.askedAt < due);
  waiting.sort((a, b) => a.askedAt - b.askedAt);
  waiting[0]?.ask().catch(() => {}); // the line or the next list says why
}

setInterval(askNext, APART);
on("models", show);
on("language", () => cards.forEach((card) => card.show()));
