// Names of models, out of what somebody types: names of people, ranges, or a number.

const LONGEST = 63;
const RANGE = /^(.*?)(\d+)\s*(?:…|\.{2,3}|–)\s*(.*?)(\d+)$/;
const MOST = 1000; // of a range
/** Letters that are no other letter with a mark. @type {Record<string, string>} */
const LETTERS = { ß: "ss", æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ð: "d", þ: "th", ı: "i" };

/**
 * The names of models for a text, one a line or separated by commas. A name that is there twice gets a number.
 * @param {string} text @returns {{names: string[], unusable: string[]}}
 */
export function namesIn(text) {
  const lines = text.trim().split(/\n/).length > 1 ? text.split("\n") : text.split(/[,;]/);
  const wanted = lines.map((line) => line.trim()).filter(Boolean).flatMap(expanded);
  /** @type {Set<string>} */
  const names = new Set();
  const unusable = [];
  for (const one of wanted) {
    const name = nameOf(one);
    if (!name) unusable.push(one);
    else names.add(free(name, names));
  }
  return { names: [...names], unusable };
}

/** "pupil-01 … pupil-30" and "30" are thirty names. @param {string} line @returns {string[]} */
function expanded(line) {
  if (/^\d{1,4}$/.test(line)) return expanded(`pupil-${"1".padStart(Math.max(2, line.length), "0")} … pupil-${line}`);
  const [, head, first, again, last] = line.match(RANGE) ?? [];
  if (first === undefined || (again && again !== head)) return [line];
  const count = Math.min(MOST, Number(last) - Number(first) + 1);
  if (count < 1) return [line];
  return Array.from({ length: count }, (_, at) => `${head}${String(Number(first) + at).padStart(first.length, "0")}`);
}

/** Small letters, digits and hyphens; "" where letters of another alphabet would be lost. @param {string} text */
function nameOf(text) {
  const small = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const plain = Array.from(small, (letter) => LETTERS[letter] ?? letter).join("");
  if (/[^a-z\P{L}]/u.test(plain)) return "";
  return plain.replace(/[^a-z0-9]+/g, "-").slice(0, LONGEST).replace(/^-+|-+$/g, "");
}

/** @param {string} name @param {Set<string>} taken */
function free(name, taken) {
  let one = name;
  for (let count = 2; taken.has(one); count += 1) one = `${name.slice(0, LONGEST - 5)}-${count}`;
  return one;
}
