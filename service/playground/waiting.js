// The predictions that wait for a label, the least sure first. The next pictures are fetched while one is looked at.

import { Failure, ask, call } from "./http.js";
import { dataUrl } from "./picture.js";

const LISTED = 50; // predictions in one answer
const AHEAD = 3; // pictures

/** @typedef {{prediction_id: string, label: number, probabilities: number[]}} Prediction */

/** @type {Set<string>} */
export const skipped = new Set();
/** @type {{prediction: Prediction, url: string}[]} */
export const ahead = [];
/** @type {Prediction[]} listed, and their pictures not fetched yet */
let next = [];
let cursor = "";

/** How many wait in addition to the one that is shown, as far as they are listed; isAll: nothing is left to list. */
export const known = () => ({ count: next.length + ahead.length, isAll: !cursor });

/**
 * Fetches the next pictures. The list is begun anew only where nothing of it is left to look at.
 * @param {() => Prediction | null} shown what is looked at
 * @param {() => void} arrived called after each
 */
export async function fetchAhead(shown, arrived) {
  while (ahead.length < AHEAD && !(shown() && !next.length && !cursor)) {
    const prediction = next.shift();
    if (!prediction) {
      if (await list(shown)) continue;
      return;
    }
    const png = await imageOf(prediction);
    if (!png) continue;
    ahead.push({ prediction, url: await dataUrl(png) });
    arrived();
  }
}

/** Whether the next page of the list, or one after it, has any that was not shown. @param {() => Prediction | null} shown */
async function list(shown) {
  do {
    const page = await ask(`predictions?order=uncertain&limit=${LISTED}${cursor}`);
    cursor = page.next_before ? `&before=${encodeURIComponent(page.next_before)}` : "";
    const taken = new Set([...skipped, shown()?.prediction_id, ...ahead.map(({ prediction }) => prediction.prediction_id)]);
    next = page.predictions.filter((/** @type {Prediction} */ { prediction_id }) => !taken.has(prediction_id));
  } while (!next.length && cursor);
  return next.length > 0;
}

/** @param {Prediction} prediction @returns {Promise<Blob | null>} null where it was labelled or has expired by now */
async function imageOf({ prediction_id }) {
  try {
    return await (await call(`predictions/${prediction_id}/image`)).blob();
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}
