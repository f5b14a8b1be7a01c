// What the tab or the browser keeps for the page; where storage is denied, only until the page is left.

/** @type {Record<string, string>} */
const kept = {};

/** @param {"sessionStorage" | "localStorage"} kind @param {string} name */
export function read(kind, name) {
  try {
    return window[kind].getItem(name) ?? kept[name] ?? "";
  } catch {
    return kept[name] ?? "";
  }
}

/** @param {"sessionStorage" | "localStorage"} kind @param {string} name @param {string} text "" removes it */
export function write(kind, name, text) {
  delete kept[name];
  try {
    if (text) window[kind].setItem(name, text);
    else window[kind].removeItem(name);
  } catch {
    kept[name] = text;
  }
}
