// Pictures as they are sent: what the browser can read becomes a PNG or a JPEG of a bounded size.

const MOST_PIXELS = 1200; // each way
const MOST_BYTES = 400_000; // of a PNG

/** @param {ImageBitmap} bitmap @param {string} type of the file @returns {Promise<Blob>} */
export async function bounded(bitmap, type) {
  const scale = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
  const size = { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) };
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, size.width, size.height);
  const png = type === "image/jpeg" ? null : await blobOf(canvas, "image/png");
  if (png && (png.size <= MOST_BYTES || isTransparent(context))) return png;
  return blobOf(canvas, "image/jpeg");
}

/** Anywhere: a JPEG would show it black, whatever colour the strokes have. @param {CanvasRenderingContext2D} context */
function isTransparent(context) {
  const { data } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  return data.some((value, at) => at % 4 === 3 && value < 255);
}

/** @param {HTMLCanvasElement} canvas @param {string} type @returns {Promise<Blob>} */
function blobOf(canvas, type) {
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), type, 0.92));
}

/** @param {Blob} blob @returns {Promise<string>} */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
