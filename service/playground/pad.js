// The paper: strokes of a mouse, a finger or a pen, or a picture that was dropped, pasted or chosen.

const INK = 20; // pixels of the 280 that the paper has each way
const MARGIN = 1 / 6; // of the paper, on each side of what is sent: strokes that touch its edge are strokes on paper, too
const PAPER = "#fff";

export class Pad {
  #canvas;
  #context;
  #pointer = null;
  #changed;
  #picture = null;
  empty = true;
  sheet = 0; // another number for each paper that is begun, and
  drawn = 0; // for whatever comes onto it

  // changed: called after each piece of a stroke
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#changed = changed;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#draw(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#end(event));
  }

  clear() {
    this.empty = true;
    this.sheet += 1;
    this.drawn += 1;
    this.#picture = null;
    this.#context.fillStyle = PAPER;
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  // The picture as it came, or the drawing as a PNG, with paper around it.
  blob() {
    if (this.#picture) return Promise.resolve(this.#picture);
    const { width, height } = this.#canvas;
    const margin = Math.ceil(MARGIN * width);
    const larger = Object.assign(document.createElement("canvas"), { width: width + 2 * margin, height: height + 2 * margin });
    const context = larger.getContext("2d");
    context.fillStyle = PAPER;
    context.fillRect(0, 0, larger.width, larger.height);
    context.drawImage(this.#canvas, margin, margin);
    return new Promise((resolve) => larger.toBlob(resolve, "image/png"));
  }

  // file: a PNG or JPEG; what is sent is the file itself.
  async show(file) {
    const bitmap = await createImageBitmap(file);
    const { width, height } = this.#canvas;
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    const size = [bitmap.width * scale, bitmap.height * scale];
    this.clear();
    this.#context.drawImage(bitmap, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
    this.#picture = file;
    this.empty = false;
    this.drawn += 1;
    this.#changed();
  }

  #begin(event) {
    if (event.button !== 0 || this.#pointer !== null) return;
    event.preventDefault();
    if (this.#picture) this.clear();
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    const { x, y } = this.#place(event);
    this.#context.beginPath();
    this.#context.moveTo(x, y);
    this.#lineTo(x + 0.1, y);
  }

  #draw(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const piece of events.length ? events : [event]) {
      const { x, y } = this.#place(piece);
      this.#lineTo(x, y);
    }
  }

  #end(event) {
    if (event.pointerId === this.#pointer) this.#pointer = null;
  }

  #lineTo(x, y) {
    Object.assign(this.#context, { lineWidth: INK, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    this.#context.lineTo(x, y);
    this.#context.stroke();
    this.#context.beginPath();
    this.#context.moveTo(x, y);
    this.empty = false;
    this.drawn += 1;
    this.#changed();
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }
}
