/** Draws what is seen of a conversation, lane by lane, and remembers where each thing lies. */

const PITCH = 3; // of the waveform's bars
const BAR = 2;
const ROUND_PX = 3; // what is narrower has no round corners to be seen, and a long call has thousands
const PARTS = ["endpoint", "stt", "llm_first_token", "first_sentence", "tts_first_audio", "playout"];
const SHARES = [1, 0.8, 0.64, 0.5, 0.38, 0.28]; // as in side.css
const STEPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400];
const SAME_PX = 0.6;
const TICK_PX = 84;
const ROWS = ["stt", "chat", "tts", "tool"];

/** Heights in pixels; `gap` is the room above. */
export const LANES = [
  { name: "ruler", height: 22, gap: 0 },
  { name: "user", label: "User", height: 56, gap: 4 },
  { name: "assistant", label: "AURA", height: 56, gap: 8 },
  { name: "states", label: "State", height: 18, gap: 10 },
  { name: "overlaps", label: "Decisions", height: 16, gap: 7 },
  { name: "latencies", label: "Response", height: 12, gap: 7 },
  { name: "stt", label: "Speech to text", height: 9, gap: 11 },
  { name: "chat", label: "Model", height: 9, gap: 5 },
  { name: "tts", label: "Voice", height: 9, gap: 5 },
  { name: "tool", label: "Tools", height: 9, gap: 5 },
];

/** Where each lane that is `used` lies: {name: {top, height, bottom}}. `above` is room for a name above each. */
export function layout(used, above = 0) {
  const lanes = {};
  let top = 0;
  for (const { name, height, gap } of LANES) {
    if (!used(name)) continue;
    top += name === "ruler" ? 0 : above ? above + 3 : gap;
    lanes[name] = { top, height, bottom: top + height };
    top += height;
  }
  return { lanes, height: top + 8 };
}

const COLOURS = {
  ink: "--ink",
  soft: "--soft",
  faint: "--faint",
  line: "--line",
  edge: "--edge",
  card: "--card",
  accent: "--accent",
  user: "--user",
  assistant: "--assistant",
  idle: "--idle",
  listening: "--listening",
  thinking: "--thinking",
  speaking: "--speaking",
  interrupted: "--interrupted",
  dismissed: "--dismissed",
  bad: "--bad",
};

/** The colours of the style sheet, for a canvas. */
export function colours(element) {
  const style = getComputedStyle(element);
  const found = Object.fromEntries(Object.entries(COLOURS).map(([key, name]) => [key, style.getPropertyValue(name).trim()]));
  return { ...found, font: style.getPropertyValue("--font") };
}

/** One painting: `{pen, view, lanes, marks, peaks, tracks, colour, chosen}`. */
export class Painting {
  constructor(given) {
    Object.assign(this, given);
    this.boxes = []; // what was drawn, for the pointer
    this.drawn = {}; // how far, by lane
  }

  paint() {
    const { pen, view } = this;
    pen.clearRect(0, 0, view.width, this.height);
    this.ruler();
    this.highlight();
    this.wave("user", this.marks.speech, (mark) => this.speech(mark));
    this.wave("assistant", this.marks.answers, (mark) => this.answer(mark));
    this.states();
    for (const mark of this.seen(this.marks.overlaps)) this.overlap(mark);
    for (const mark of this.seen(this.marks.latencies)) this.latency(mark);
    for (const mark of this.seen(this.marks.calls)) this.call(mark);
    for (const mark of this.seen(this.marks.problems)) this.problem(mark);
    this.parting();
    return this.boxes;
  }

  /** Of things in the order of their beginning, those within sight. */
  *seen(marks) {
    const { from, to } = this.view;
    for (const mark of marks) {
      if (mark.begin > to) return;
      if (mark.end >= from) yield mark;
    }
  }

  /** Left and right edge; never thinner than `least`, and not far outside. */
  edges(begin, end, least = 1.5) {
    const { view } = this;
    const left = Math.max(-20, view.x(begin));
    return [left, Math.max(left + least, Math.min(view.width + 20, view.x(end)))];
  }

  box(mark, left, right, { top, bottom }) {
    this.boxes.push({ mark, left, right, top, bottom });
  }

  rect(left, right, { top, height }, radius, colour, alpha = 1) {
    const { pen } = this;
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    if (right - left < ROUND_PX) pen.fillRect(left, top, right - left, height);
    else {
      pen.beginPath();
      pen.roundRect(left, top, right - left, height, Math.min(radius, (right - left) / 2));
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  // ---- time

  ruler() {
    const { pen, view, colour, lanes } = this;
    const step = STEPS.find((one) => one * view.scale >= TICK_PX) ?? STEPS.at(-1);
    const first = Math.max(0, Math.floor(view.from / step) * step);
    const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
    pen.font = `500 11px ${colour.font}`;
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    for (let n = 0; first + n * step <= Math.min(view.to, view.seconds); n++) {
      const at = first + n * step;
      const x = Math.round(view.x(at)) + 0.5;
      pen.globalAlpha = 0.6;
      pen.fillStyle = colour.line;
      pen.fillRect(x - 0.5, 6, 1, this.height - 6);
      pen.globalAlpha = 1;
      pen.fillStyle = colour.soft;
      if (x + 48 < view.width) pen.fillText(this.clock(at, digits), x + 8, lanes.ruler.top + 11);
    }
  }

  highlight() {
    const { chosen, colour, view } = this;
    if (!chosen) return;
    const [left, right] = this.edges(chosen.begin, chosen.end);
    if (right < 0 || left > view.width) return;
    this.rect(left, right, { top: this.lanes.ruler.bottom, height: this.height - this.lanes.ruler.bottom }, 4, colour.ink, 0.06);
  }

  parting() {
    const { pen, colour, view } = this;
    for (const mark of this.marks.partings) {
      const x = Math.round(view.x(mark.begin)) + 0.5;
      if (x < -1 || x > view.width + 1) continue;
      pen.fillStyle = colour.interrupted;
      pen.globalAlpha = 0.05;
      pen.fillRect(x, 0, view.width - x, this.height);
      pen.globalAlpha = 1;
      pen.strokeStyle = colour.interrupted;
      pen.lineWidth = 1.5;
      pen.setLineDash([5, 4]);
      pen.beginPath();
      pen.moveTo(x, 0);
      pen.lineTo(x, this.height);
      pen.stroke();
      pen.setLineDash([]);
      this.box(mark, x - 5, x + 5, { top: 0, bottom: this.lanes.ruler.bottom });
    }
  }

  // ---- what is heard

  wave(side, marks, ground) {
    const { pen, view, colour, lanes } = this;
    const lane = lanes[side];
    for (const mark of this.seen(marks)) ground(mark);
    const step = PITCH / view.scale;
    const from = Math.floor(view.from / step) * step; // bars stay where they are while the view moves
    const count = Math.ceil(view.width / PITCH) + 2;
    const middle = lane.top + lane.height / 2;
    const loud = this.peaks ? this.peaks.bars(side, from, step, count) : new Float32Array(count).fill(-1);
    const unknown = [];
    const tracks = this.tracks[side];
    let track = 0;
    pen.fillStyle = colour[side];
    pen.globalAlpha = this.muted[side] ? 0.3 : 1;
    for (let i = 0; i < count; i++) {
      const at = from + i * step;
      while (track < tracks.length && tracks[track].end <= at) track++;
      const there = track < tracks.length && tracks[track].begin < at + step;
      if (!there) continue; // nothing was recorded, or nothing was played
      if (loud[i] < 0) {
        unknown.push(view.x(at));
        continue;
      }
      const height = Math.max(BAR, loud[i] * (lane.height - 6));
      const x = view.x(at);
      pen.fillRect(x, middle - height / 2, BAR, height);
      if (height > 4) pen.fillRect(x + 0.5, middle - height / 2 - 0.5, BAR - 1, height + 1);
    }
    pen.globalAlpha = 0.18;
    for (const x of unknown) pen.fillRect(x, middle - lane.height / 6, BAR, lane.height / 3);
    pen.globalAlpha = 1;
  }

  speech(mark) {
    const { colour, lanes, pen } = this;
    const dismissed = mark.one.fate === "dismissed";
    const tint = dismissed ? colour.dismissed : colour.user;
    for (const [begin, end] of mark.one.voiced) {
      const [left, right] = this.edges(begin, end);
      this.rect(left, right, lanes.user, 6, tint, dismissed ? 0.2 : 0.14);
    }
    const [left, right] = this.edges(mark.one.begin, mark.one.end);
    const [, decided] = this.edges(mark.one.end, mark.one.decided ?? mark.one.end);
    if (mark.one.decided !== null && decided - right > 4) {
      pen.fillStyle = tint;
      pen.globalAlpha = 0.55;
      const y = lanes.user.bottom - 3;
      for (let x = right + 2; x < decided - 1; x += 5) pen.fillRect(x, y, 2, 2);
      pen.globalAlpha = 1;
      pen.fillRect(decided - 1, lanes.user.bottom - 10, 1.5, 10);
    }
    this.box(mark, left, decided, lanes.user);
  }

  answer(mark) {
    const { colour, lanes } = this;
    const [left, right] = this.edges(mark.begin, mark.end);
    this.rect(left, right, lanes.assistant, 6, colour.assistant, 0.1);
    if (mark.one.outcome === "cancelled" || mark.one.outcome === "failed") {
      const tint = mark.one.outcome === "failed" ? colour.bad : colour.interrupted;
      this.rect(right - Math.min(2.5, Math.max(0.75, this.view.scale / 6)), right, lanes.assistant, 1, tint);
    }
    this.box(mark, left, right, lanes.assistant);
  }

  // ---- what was decided

  states() {
    const { pen, colour, lanes, view } = this;
    pen.font = `500 11px ${colour.font}`;
    pen.textBaseline = "middle";
    for (const mark of this.seen(this.marks.states)) {
      const [left, right] = this.edges(mark.begin, mark.end, 0.75);
      const { state } = mark.one;
      const gap = right - left > 4 ? 0.75 : 0;
      this.rect(left, right - gap, lanes.states, gap ? 4 : 0, colour[state] || colour.faint, state === "idle" ? 0.5 : 0.9);
      const room = Math.min(right, view.width) - Math.max(left, 0) - 12;
      if (room > 20 && room > pen.measureText(state).width) {
        pen.fillStyle = state === "idle" ? colour.soft : colour.card;
        pen.fillText(state, Math.max(left, 0) + 6, lanes.states.top + lanes.states.height / 2 + 0.5);
      }
      this.box(mark, left, right, lanes.states);
    }
  }

  overlap(mark) {
    const { pen, colour, lanes } = this;
    const lane = lanes.overlaps;
    const tint = mark.one.confirmed ? colour.interrupted : colour.dismissed;
    const [left, right] = this.edges(mark.begin, mark.end, 3);
    const middle = lane.top + lane.height / 2;
    const size = Math.min(7, 3 + this.view.scale / 4); // small where many lie close together
    this.rect(left, right, { top: middle - 2, height: 4 }, 2, tint, 0.45);
    pen.beginPath();
    if (mark.one.confirmed) {
      pen.moveTo(right, middle - size);
      pen.lineTo(right + size, middle);
      pen.lineTo(right, middle + size);
      pen.lineTo(right - size, middle);
      pen.closePath();
      pen.fillStyle = tint;
      pen.fill();
    } else {
      pen.arc(right, middle, 0.72 * size, 0, 7);
      pen.fillStyle = colour.card;
      pen.fill();
      pen.strokeStyle = tint;
      pen.lineWidth = Math.min(2, 0.3 * size);
      pen.stroke();
    }
    this.box(mark, left - 2, right + size + 1, lane);
  }

  latency(mark) {
    const { colour, lanes } = this;
    const lane = lanes.latencies;
    const [left, right] = this.edges(mark.begin, mark.end, 3);
    this.rect(left, right, lane, 3, colour.line);
    let at = mark.begin;
    PARTS.forEach((part, index) => {
      const length = (mark.one.ms[part] ?? 0) / 1000;
      if (length * this.view.scale >= 0.4) {
        const [a, b] = this.edges(at, at + length, 0.5);
        this.rect(a, Math.max(a + 0.5, b - 0.5), lane, 2, colour.accent, SHARES[index]);
      }
      at += length;
    });
    this.box(mark, left, right, lane);
  }

  problem(mark) {
    const { pen, colour, lanes } = this;
    const lane = lanes.overlaps;
    const x = this.view.x(mark.begin);
    pen.fillStyle = colour.bad;
    pen.beginPath();
    pen.moveTo(x, lane.top);
    pen.lineTo(x + 8, lane.bottom - 1);
    pen.lineTo(x - 8, lane.bottom - 1);
    pen.closePath();
    pen.fill();
    pen.fillStyle = colour.card;
    pen.fillRect(x - 0.9, lane.top + 5, 1.8, 5);
    pen.fillRect(x - 0.9, lane.top + 11.4, 1.8, 1.8);
    this.box(mark, x - 8, x + 8, lane);
  }

  call(mark) {
    const { pen, colour, lanes } = this;
    const lane = lanes[mark.one.part];
    if (!lane) return;
    const [left, right] = this.edges(mark.begin, mark.end, 2);
    this.box(mark, left, right, lane);
    if (right - this.drawn[mark.one.part] < SAME_PX) return; // a long call has many within a pixel
    this.drawn[mark.one.part] = right;
    const { outcome, first } = mark.one;
    const bad = !["ok", "cancelled", "unfinished"].includes(outcome);
    const tint = bad ? colour.bad : colour.call || colour.soft;
    if (outcome === "ok" || bad) {
      this.rect(left, right, lane, 3, tint, bad ? 0.9 : 0.38);
      if (first !== null && !bad) this.rect(...this.edges(first, mark.end, 0), lane, 3, tint, 0.62);
    } else if (right - left < ROUND_PX) this.rect(left, right, lane, 0, tint, 0.6);
    else {
      pen.strokeStyle = tint;
      pen.lineWidth = 1;
      pen.globalAlpha = 0.75;
      pen.beginPath();
      pen.roundRect(left + 0.5, lane.top + 0.5, Math.max(1, right - left - 1), lane.height - 1, 3);
      pen.stroke();
      pen.globalAlpha = 1;
    }
  }
}

export { ROWS };
