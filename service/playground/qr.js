// A QR code (ISO/IEC 18004) of a text of up to 230 bytes: versions 1 to 9, error correction L, whose blocks are of one size.

import { shape } from "./dom.js";

const DATA = [19, 34, 55, 80, 108, 136, 156, 194, 232]; // bytes by version
const CHECK = [7, 10, 15, 20, 26, 18, 20, 24, 30]; // for each block
const TWO_BLOCKS = 6; // from this version on
const MARKED = 7; // from this version on, its number is in the code, and there are more alignment patterns
const MARKS = [0x07c94, 0x085bc, 0x09a99];
const QUIET = 4; // modules around it

/** Powers of 2 in the field of 256 elements. */
const POWERS = [1];
for (let at = 1; at < 255; at += 1) POWERS[at] = (POWERS[at - 1] << 1) ^ (POWERS[at - 1] > 127 ? 0x11d : 0);
const LOGS = new Map(POWERS.map((value, at) => [value, at]));
const times = (/** @type {number} */ a, /** @type {number} */ b) =>
  a && b ? POWERS[(/** @type {number} */ (LOGS.get(a)) + /** @type {number} */ (LOGS.get(b))) % 255] : 0;

/** Reed and Solomon's check bytes. @param {number[]} data @param {number} count */
function checks(data, count) {
  let generator = [1];
  for (let at = 0; at < count; at += 1) {
    const next = [...generator, 0];
    generator.forEach((value, place) => (next[place + 1] ^= times(value, POWERS[at])));
    generator = next;
  }
  const rest = [...data, ...Array(count).fill(0)];
  data.forEach((_, at) => {
    const factor = rest[at];
    generator.forEach((value, place) => (rest[at + place] ^= times(value, factor)));
  });
  return rest.slice(data.length);
}

/** @param {string} text @returns {boolean[][] | null} dark modules by row; null where it is too long */
export function modules(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = DATA.findIndex((most) => bytes.length + 2 <= most) + 1;
  if (!version) return null;
  const bits = [0, 1, 0, 0, ...[bytes.length, ...bytes].flatMap((byte) => bitsOf(byte, 8)), 0, 0, 0, 0];
  const data = Array.from({ length: bits.length / 8 }, (_, at) => parseInt(bits.slice(8 * at, 8 * at + 8).join(""), 2));
  for (let pad = 0xec; data.length < DATA[version - 1]; pad ^= 0xec ^ 0x11) data.push(pad);
  const size = DATA[version - 1] / (version < TWO_BLOCKS ? 1 : 2);
  const blocks = version < TWO_BLOCKS ? [data] : [data.slice(0, size), data.slice(size)];
  const checked = blocks.map((block) => checks(block, CHECK[version - 1]));
  const stream = [...interleaved(blocks), ...interleaved(checked)].flatMap((byte) => bitsOf(byte, 8));
  return placed(stream, version);
}

/** The first of each, then the second of each. @param {number[][]} blocks */
const interleaved = (blocks) => blocks[0].flatMap((_, at) => blocks.map((block) => block[at]));

/** @param {number} value @param {number} count */
const bitsOf = (value, count) => Array.from({ length: count }, (_, at) => (value >> (count - 1 - at)) & 1);

/** @param {number[]} stream @param {number} version */
function placed(stream, version) {
  const size = 17 + 4 * version;
  /** @type {(boolean | undefined)[][]} */
  const grid = Array.from({ length: size }, () => Array(size).fill(undefined));
  const finder = (/** @type {number} */ top, /** @type {number} */ left) => square(grid, top + 3, left + 3, 4, [0, 1, 3]);
  finder(0, 0);
  finder(0, size - 7);
  finder(size - 7, 0);
  const far = size - 7;
  const places = version === 1 ? [] : version < MARKED ? [far] : [(far + 6) / 2, far];
  for (const row of places) for (const column of places) square(grid, row, column, 2, [0, 2]);
  if (version >= MARKED) {
    [[6, places[0]], [places[0], 6]].forEach(([row, column]) => square(grid, row, column, 2, [0, 2]));
    for (let bit = 0; bit < 18; bit += 1) {
      const [near, across] = [Math.floor(bit / 3), size - 11 + (bit % 3)];
      grid[near][across] = grid[across][near] = Boolean((MARKS[version - MARKED] >> bit) & 1);
    }
  }
  for (let at = 8; at < size - 8; at += 1) grid[6][at] = grid[at][6] = at % 2 === 0;
  const format = bitsOf(0b111011111000100, 15); // level L, mask 0
  format.forEach((bit, at) => {
    const near = at < 6 ? at : at < 8 ? at + 1 : 0;
    if (at < 8) grid[8][near] = Boolean(bit);
    else grid[at === 8 ? 7 : 14 - at][8] = Boolean(bit);
    if (at < 7) grid[size - 1 - at][8] = Boolean(bit);
    else grid[8][size - 15 + at] = Boolean(bit);
  });
  grid[size - 8][8] = true;
  let at = 0;
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const row = up ? size - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (grid[row][column] !== undefined) continue;
        grid[row][column] = Boolean((stream[at] ?? 0) ^ Number((row + column) % 2 === 0));
        at += 1;
      }
    }
  }
  return /** @type {boolean[][]} */ (grid);
}

/** A pattern of rings. @param {(boolean | undefined)[][]} grid @param {number} row @param {number} column @param {number} radius @param {number[]} dark */
function square(grid, row, column, radius, dark) {
  for (let down = -radius; down <= radius; down += 1) {
    for (let across = -radius; across <= radius; across += 1) {
      if (grid[row + down]?.[column + across] === undefined && !(row + down in grid && column + across in grid)) continue;
      grid[row + down][column + across] = dark.includes(Math.max(Math.abs(down), Math.abs(across)));
    }
  }
}

/** @param {string} text @param {string} [label] */
export function qr(text, label = text) {
  const grid = modules(text);
  if (!grid) return null;
  const side = grid.length + 2 * QUIET;
  const path = grid.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x + QUIET} ${y + QUIET}h1v1h-1z`] : []))).join("");
  const picture = shape("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" });
  picture.append(shape("rect", { width: side, height: side, fill: "#fff" }), shape("path", { d: path, fill: "#000" }));
  return picture;
}
