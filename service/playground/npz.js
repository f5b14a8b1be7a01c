// Reads .npz files: a zip of .npy arrays, stored or deflated.

/** @type {Record<string, any>} */
const NUMBERS = {
  "<f4": Float32Array,
  "<f8": Float64Array,
  "|b1": Uint8Array,
  "|u1": Uint8Array,
  "<u2": Uint16Array,
  "<u4": Uint32Array,
  "|i1": Int8Array,
  "<i2": Int16Array,
  "<i4": Int32Array,
};
const CENTRAL = 0x02014b50;
const END = 0x06054b50;

/**
 * {name: {shape, data}}; data is a typed array, or a string for an array of one text. Other types are left out.
 * @param {ArrayBuffer} buffer
 */
export async function readNpz(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("this is no .npz file");
  /** @type {Record<string, any>} */
  const arrays = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== CENTRAL) throw new Error("this .npz file is damaged");
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 46, nameLength));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    let bytes = buffer.slice(start, start + view.getUint32(at + 20, true));
    if (view.getUint16(at + 10, true) === 8) bytes = await inflated(bytes);
    const array = readNpy(bytes);
    if (array) arrays[name.replace(/\.npy$/, "")] = array;
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return arrays;
}

/** @param {ArrayBuffer} bytes */
function inflated(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();
}

/** @param {ArrayBuffer} buffer */
function readNpy(buffer) {
  const view = new DataView(buffer);
  const long = view.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
  const type = header.match(/'descr': '([^']*)'/)?.[1] ?? "";
  const shape = (header.match(/'shape': \(([^)]*)\)/)?.[1] ?? "").split(",").filter((part) => part.trim()).map(Number);
  const bytes = buffer.slice(start + length);
  if (/^<U\d+$/.test(type)) {
    return { shape, data: String.fromCodePoint(...new Uint32Array(bytes)).replace(/\0+$/, "") };
  }
  const count = shape.reduce((product, size) => product * size, 1);
  if (!(type in NUMBERS)) {
    if (type !== "<i8") return null;
    return { shape, data: Float64Array.from(new BigInt64Array(bytes, 0, count), Number) };
  }
  return { shape, data: new NUMBERS[type](bytes, 0, count), transposed: header.includes("'fortran_order': True") };
}
