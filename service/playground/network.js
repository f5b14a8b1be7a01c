// The network computed here: what each hidden unit and each pixel says for a class, exactly.

/** @typedef {{shape: number[], data: any, transposed?: boolean}} Matrix */
/** @typedef {{W1: Matrix, b1: Matrix, W2: Matrix, b2: Matrix, activation: string, shape: number[], version: number}} Network */

/** @param {Matrix} matrix @param {number} row @param {number} column @returns {number} */
export const entry = ({ shape, data, transposed }, row, column) =>
  transposed ? data[column * shape[0] + row] : data[row * shape[1] + column];

/**
 * The hidden units' outputs for an input.
 * @param {Network} network @param {ArrayLike<number>} x 0…1
 */
function hidden({ W1, b1, activation }, x) {
  const [inputs, units] = W1.shape;
  return Array.from({ length: units }, (_, unit) => {
    let sum = b1.data[unit];
    for (let at = 0; at < inputs; at += 1) if (x[at]) sum += x[at] * entry(W1, at, unit);
    return activation === "sigmoid" ? 1 / (1 + Math.exp(-sum)) : Math.max(0, sum);
  });
}

/**
 * What speaks for a class. units: each unit's output times its weight; they and the bias sum up to the logit. pixels:
 * with relu, the part of that sum which came through each pixel (input times the gradient of the logit).
 * @param {Network} network @param {ArrayLike<number>} x @param {number} label
 */
export function evidence(network, x, label) {
  const { W1, W2, b2, activation } = network;
  const outputs = hidden(network, x);
  const units = outputs.map((output, unit) => output * entry(W2, unit, label));
  const slopes = outputs.map((output, unit) => entry(W2, unit, label) * (activation === "sigmoid" ? output * (1 - output) : Number(output > 0)));
  const pixels = Float32Array.from({ length: W1.shape[0] }, (_, at) =>
    x[at] ? x[at] * slopes.reduce((sum, slope, unit) => sum + slope * entry(W1, at, unit), 0) : 0,
  );
  const bias = /** @type {number} */ (b2.data[label]);
  return { outputs, units, pixels, bias, logit: units.reduce((sum, one) => sum + one, bias) };
}

/** @param {Network} network @param {number} unit */
export const weightsOf = ({ W1 }, unit) => Float32Array.from({ length: W1.shape[0] }, (_, at) => entry(W1, at, unit));

/**
 * Numbers as a picture: blue above 0, red below it.
 * @param {ArrayLike<number>} values @param {number[]} shape
 */
export function heat(values, [rows, columns], most = 0) {
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  canvas.setAttribute("role", "img");
  const largest = most || Array.from(values).reduce((max, value) => Math.max(max, Math.abs(value)), 1e-9);
  const pixels = new ImageData(columns, rows);
  for (let at = 0; at < values.length; at += 1) {
    const faded = 255 * (1 - Math.abs(values[at]) / largest);
    pixels.data.set(values[at] > 0 ? [faded, faded, 255, 255] : [255, faded, faded, 255], 4 * at);
  }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas;
}
