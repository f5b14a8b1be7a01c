// Elements of the page, and pictures in them.

/** @param {string} selector @returns {any} */
export const $ = (selector) => document.querySelector(selector);

/**
 * @param {string} name
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 * @returns {any}
 */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
export function shape(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, String(value));
  made.textContent = text;
  return made;
}

/**
 * Makes a picture as large as fits into a square, and no other shape than it has.
 * @param {HTMLElement} picture @param {number} width @param {number} height @param {number} side
 */
export function fit(picture, width, height, side) {
  const scale = side / Math.max(width, height);
  picture.style.width = `${Math.max(2, Math.round(width * scale))}px`;
  picture.style.height = `${Math.max(2, Math.round(height * scale))}px`;
}

/** A text that is already there is not announced again. @param {HTMLElement} place @param {string} text */
export function put(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * One tab stop for a group of buttons: arrow keys move in it.
 * @param {HTMLElement} group @param {string} selector of the buttons in it
 */
export function roving(group, selector) {
  const all = () => /** @type {HTMLButtonElement[]} */ ([...group.querySelectorAll(selector)]);
  const choose = (/** @type {HTMLElement} */ chosen) => all().forEach((one) => (one.tabIndex = one === chosen ? 0 : -1));
  group.addEventListener("focusin", ({ target }) => {
    if (target instanceof HTMLElement && target.matches(selector)) choose(target);
  });
  group.addEventListener("keydown", (event) => {
    const buttons = all().filter((button) => !button.disabled);
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const places = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
    const next = buttons[places[event.key]];
    if (at < 0 || !(event.key in places)) return;
    event.preventDefault();
    next?.focus();
  });
  return () => {
    const buttons = all();
    if (!buttons.some((one) => one.tabIndex === 0 && !one.disabled)) choose(buttons.find((one) => !one.disabled) ?? buttons[0]);
  };
}
