// The paper: strokes of a mouse, a finger or a pen, or a picture that was dropped, pasted or chosen.

import { bounded } from "./picture.js";

const SIDE = 280; // pixels of what is sent
const INK = 20; // of these
const MARGIN = 47; // on each side of what is sent: strokes that touch the paper's edge are strokes on paper, too
const SHORT = 0.06; // of the paper's width: less ink than this is no digit yet

/** @typedef {{x: number, y: number}} Point 0…1 across and down */

export class Pad {
  #canvas;
  #changed;
  #ended;
  /** @type {Point[][]} */
  #strokes = [];
  /** @type {{id: number, type: string} | null} */
  #pointer = null;
  /** @type {Promise<Blob> | null} */
  #picture = null;
  /** @type {ImageBitmap | null} */
  #bitmap = null;
  sheet = 0; // another number for each paper that is begun, and
  drawn = 0; // for whatever comes onto it

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} changed called after each piece of a stroke
   * @param {() => void} [ended] called after each stroke
   */
  constructor(canvas, changed, ended) {
    this.#canvas = canvas;
    this.#changed = changed;
    this.#ended = ended;
    new ResizeObserver(() => this.#show()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#draw(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
      canvas.addEventListener(name, (event) => this.#end(/** @type {PointerEvent} */ (event)));
  }

  get empty() {
    return !this.#picture && !this.#strokes.length;
  }

  /** Enough for a digit: a dot is not asked about. */
  get ready() {
    return Boolean(this.#picture) || length(this.#strokes) > SHORT;
  }

  /** Whether a stroke has begun and has not ended yet. */
  get isDrawing() {
    return this.#pointer !== null;
  }

  get isPicture() {
    return Boolean(this.#picture);
  }

  /** What the service would otherwise have to guess: strokes of the page are dark. */
  get polarity() {
    return this.#picture ? "" : "dark";
  }

  clear() {
    this.#bitmap?.close();
    this.#picture = this.#bitmap = this.#pointer = null;
    this.#strokes = [];
    this.sheet += 1;
    this.#drawnOn();
  }

  /** The last stroke, or the picture, is taken away. */
  undo() {
    if (this.#picture) return this.clear();
    this.#strokes.pop();
    this.#drawnOn();
  }

  /** @param {Point[][]} strokes */
  put(strokes) {
    this.clear();
    this.#strokes = strokes;
    this.#drawnOn();
  }

  /** What is sent: the picture, or the drawing as a PNG, with paper around it. @returns {Promise<Blob>} */
  blob() {
    return this.#picture ?? blobOf(this.#strokes);
  }

  /** @param {Blob} file that the browser can read, or it rejects */
  async show(file) {
    const bitmap = await createImageBitmap(file);
    this.clear();
    this.#bitmap = bitmap;
    this.#picture = bounded(bitmap, file.type);
    this.#drawnOn();
  }

  #drawnOn() {
    this.drawn += 1;
    this.#show();
    this.#changed();
  }

  #show() {
    const side = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width !== side) Object.assign(this.#canvas, { width: side, height: side });
    this.#canvas.classList.toggle("picture", this.isPicture);
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    context.clearRect(0, 0, side, side);
    if (this.#bitmap) {
      const scale = side / Math.max(this.#bitmap.width, this.#bitmap.height);
      const size = [this.#bitmap.width * scale, this.#bitmap.height * scale];
      context.drawImage(this.#bitmap, (side - size[0]) / 2, (side - size[1]) / 2, size[0], size[1]);
    } else paint(context, this.#strokes, side);
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (event.button !== 0) return;
    if (this.#pointer) {
      if (event.pointerType !== "pen" || this.#pointer.type !== "touch") return;
      this.#strokes.pop(); // a palm lay on the paper before the pen
    }
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    if (this.#picture) this.clear();
    this.#pointer = { id: event.pointerId, type: event.pointerType };
    this.#canvas.setPointerCapture(event.pointerId);
    this.#strokes.push([this.#place(event)]);
    this.#drawnOn();
  }

  /** @param {PointerEvent} event */
  #draw(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    if (!event.buttons) return this.#end(event);
    const events = event.getCoalescedEvents?.() ?? [];
    this.#strokes.at(-1)?.push(...(events.length ? events : [event]).map((piece) => this.#place(piece)));
    this.#drawnOn();
  }

  /** @param {PointerEvent} event */
  #end(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    this.#pointer = null;
    this.#ended?.();
  }

  /** @param {PointerEvent} event @returns {Point} */
  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }
}

/** Strokes along curves through the middles between points. @param {CanvasRenderingContext2D} context @param {Point[][]} strokes @param {number} side */
export function paint(context, strokes, side, ink = (INK * side) / SIDE) {
  Object.assign(context, { lineWidth: ink, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
  for (const stroke of strokes) {
    const points = stroke.map(({ x, y }) => ({ x: x * side, y: y * side }));
    const last = points[points.length - 1];
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    points.slice(1, -1).forEach((point, at) => {
      const next = points[at + 2];
      context.quadraticCurveTo(point.x, point.y, (point.x + next.x) / 2, (point.y + next.y) / 2);
    });
    context.lineTo(last.x + 0.1, last.y);
    context.stroke();
  }
}

/** @param {Point[][]} strokes @returns {Promise<Blob>} */
export function blobOf(strokes) {
  const side = SIDE + 2 * MARGIN;
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.translate(MARGIN, MARGIN);
  context.beginPath();
  context.rect(0, 0, SIDE, SIDE);
  context.clip();
  paint(context, strokes, SIDE);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), "image/png"));
}

/** @param {Point[][]} strokes */
function length(strokes) {
  return strokes.reduce(
    (sum, points) => sum + points.slice(1).reduce((way, { x, y }, at) => way + Math.hypot(x - points[at].x, y - points[at].y), 0),
    0,
  );
}
