/** The level meter: the last seconds as bars, the user's in the accent colour, the answer's in grey. */

const STEP_MS = 40;
const BAR = { width: 3, gap: 3 };
const FLOOR_DB = -54;

/** Loudness as seen by an eye: 0 to 1. */
export function loudness(level) {
  return Math.max(0, Math.min(1, (20 * Math.log10(level + 1e-6) - FLOOR_DB) / (-12 - FLOOR_DB)));
}

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.bars = [];
    this.next = { mic: 0, reply: 0 };
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.fit()).observe(canvas);
    setInterval(() => this.tick(), STEP_MS);
  }

  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const scale = globalThis.devicePixelRatio || 1;
    Object.assign(this, { width, height, scale });
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.paint();
  }

  /** Levels as root mean squares; the loudest within a step counts. */
  hear(who, level) {
    this.next[who] = Math.max(this.next[who], loudness(level));
  }

  tick() {
    if (document.hidden || !this.width) return;
    const count = Math.floor(this.width / (BAR.width + BAR.gap));
    this.bars.push(this.next);
    this.bars.splice(0, this.bars.length - count);
    const still = this.bars.every(({ mic, reply }) => !mic && !reply);
    this.next = { mic: 0, reply: 0 };
    if (!(still && this.still)) this.paint();
    this.still = still;
  }

  paint() {
    const { canvas, bars, width, height, scale } = this;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const names = { mic: "--accent", reply: "--faint", none: "--line" };
    const colours = Object.fromEntries(Object.entries(names).map(([key, name]) => [key, style.getPropertyValue(name)]));
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const pitch = BAR.width + BAR.gap;
    const count = Math.floor(width / pitch);
    const loudest = (who) => Math.max(0, ...bars.slice(-5).map((one) => one[who]));
    const last = { mic: loudest("mic"), reply: loudest("reply") };
    for (let i = 0; i < count; i++) {
      const { mic, reply } = this.calm.matches ? meter(last, i / count) : (bars[bars.length - count + i] ?? { mic: 0, reply: 0 });
      const size = Math.max(BAR.width, Math.max(mic, reply) * height);
      pen.fillStyle = mic > 0 && mic >= reply ? colours.mic : reply > 0 ? colours.reply : colours.none;
      pen.beginPath();
      pen.roundRect(i * pitch, (height - size) / 2, BAR.width, size, BAR.width / 2);
      pen.fill();
    }
  }
}

/** For reduced motion: a plain meter from left to right that does not wander. */
function meter({ mic, reply }, place) {
  return { mic: mic > place ? 0.5 : 0, reply: reply > place ? 0.5 : 0 };
}
