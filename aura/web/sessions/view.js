/** Which part of the time is seen, and how large: shared by all timelines that stand above each other. */

const CLOSEST = 420; // pixels for a second
const PAD = 0.02; // of the width, on both sides, when all is seen

export class View extends EventTarget {
  constructor(seconds) {
    super();
    Object.assign(this, { seconds: Math.max(0.5, seconds), width: 0, from: 0, scale: 0, fitted: true });
  }

  get farthest() {
    return (this.width * (1 - 2 * PAD)) / this.seconds;
  }

  get to() {
    return this.from + this.width / this.scale;
  }

  x(at) {
    return (at - this.from) * this.scale;
  }

  at(x) {
    return this.from + x / this.scale;
  }

  /** Where a moment lies when all is seen, and back. */
  mapX(at) {
    return PAD * this.width + at * this.farthest;
  }

  mapAt(x) {
    return (x - PAD * this.width) / this.farthest;
  }

  resize(width) {
    if (!width || width === this.width) return;
    const middle = this.scale ? this.at(this.width / 2) : 0;
    this.width = width;
    if (this.fitted || !this.scale) this.fit();
    else this.set(middle - width / 2 / this.scale, this.scale);
  }

  /** Another length, known later than the first guess. */
  lengthen(seconds) {
    if (seconds === this.seconds) return;
    this.seconds = Math.max(0.5, seconds);
    if (this.fitted && this.width) this.fit();
  }

  set(from, scale) {
    this.scale = Math.max(this.farthest, Math.min(CLOSEST, scale));
    const room = (PAD * this.width) / this.scale;
    const most = this.seconds + room - this.width / this.scale;
    this.from = Math.max(-room, Math.min(Math.max(-room, most), from));
    this.fitted = this.scale <= this.farthest * 1.001;
    this.dispatchEvent(new Event("change"));
  }

  fit() {
    this.set(-Infinity, 0);
  }

  /** Larger (factor above 1) or smaller, with what lies at `x` staying there. */
  zoom(factor, x = this.width / 2) {
    const at = this.at(x);
    const scale = Math.max(this.farthest, Math.min(CLOSEST, this.scale * factor));
    this.set(at - x / scale, scale);
  }

  pan(pixels) {
    this.set(this.from + pixels / this.scale, this.scale);
  }

  /** Show this stretch. */
  show(begin, end) {
    const scale = Math.max(this.farthest, Math.min(CLOSEST, this.width / Math.max(0.01, end - begin)));
    this.set((begin + end) / 2 - this.width / 2 / scale, scale);
  }

  /** Bring a moment into sight, leaving what is behind it to be seen. */
  reveal(at, ahead = 0.5) {
    const x = this.x(at);
    if (x < 0.04 * this.width || x > 0.96 * this.width) this.set(at - ((1 - ahead) * this.width) / this.scale, this.scale);
  }
}
