/** A conversation on a time axis: canvas, playhead, pointer and keys. */

import { describe, heading, overview } from "./describe.js";
import { LANES, Painting, ROWS, colours, layout } from "./lanes.js";
import { ICONS, clock, icon, make, say } from "./util.js";

const DRAG_PX = 5;
const NEAR_PX = 4;
const ABOVE_PX = 16; // for a lane's name, where it stands above
const SOON_MS = 70;
const MAP_PX = 18;
const WHEEL = 0.0022;
const KEY_ZOOM = 1.5;

const byBegin = (left, right) => left.begin - right.begin;
const mark = (kind, one, begin, end = begin) => ({ kind, one, begin, end });

/** Everything that can be pointed at. */
export function marksOf(conversation) {
  const { states, seconds } = conversation;
  const stays = states.map((one, index) => ({ ...one, begin: one.at, end: states[index + 1]?.at ?? seconds }));
  return {
    speech: conversation.speech.map((one) => mark("speech", one, one.begin, one.decided ?? one.end)).sort(byBegin),
    answers: conversation.answers
      .filter((one) => one.audible !== null)
      .map((one) => mark("answer", one, one.audible, one.end ?? seconds))
      .sort(byBegin),
    states: stays.map((one) => mark("state", one, one.begin, one.end)),
    overlaps: conversation.overlaps.map((one) => mark("overlap", one, one.began, one.at)).sort(byBegin),
    latencies: conversation.latencies.map((one) => mark("latency", one, one.begin, one.end)).sort(byBegin),
    calls: conversation.calls.map((one) => mark("call", one, one.begin, one.end ?? seconds)).sort(byBegin),
    problems: conversation.problems.map((one) => mark("problem", one, one.at)).sort(byBegin),
    partings: [],
  };
}

export class Timeline extends EventTarget {
  constructor(view, player, { name = "" } = {}) {
    super();
    Object.assign(this, {
      view,
      player,
      name,
      boxes: [],
      chosen: null,
      pointers: new Map(),
      mutes: {},
      conversation: null,
      peaks: null,
    });
    this.build();
    this.onview = () => this.draw();
    view.addEventListener("change", this.onview);
    player.addEventListener("change", () => this.follow());
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.onscheme = () => {
      this.colour = null;
      this.draw();
    };
    this.scheme.addEventListener("change", this.onscheme);
    this.narrow = matchMedia("(max-width: 48rem)");
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.stage);
  }

  close() {
    this.view.removeEventListener("change", this.onview);
    this.scheme.removeEventListener("change", this.onscheme);
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    this.closed = true;
  }

  // ---- what it is made of

  build() {
    this.canvas = make("canvas", {
      tabindex: "0",
      role: "slider",
      "aria-label": `${this.name} timeline`.trim(),
      "aria-valuemin": "0",
      "aria-keyshortcuts": "Space N P F",
    });
    this.head = make("div", { class: "playhead", "aria-hidden": "true" }, make("i"));
    this.tip = make("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.stage = make("div", { class: "stage" }, this.canvas, this.head, this.tip);
    this.gutter = make("div", { class: "gutter" });
    this.map = make("canvas", { class: "map", "aria-hidden": "true" });
    this.window = make("div", { class: "window", "aria-hidden": "true" });
    this.minimap = make("div", { class: "minimap" }, this.map, this.window);
    this.element = make(
      "div",
      { class: "timeline" },
      this.gutter,
      this.stage,
      make("div", { class: "gutter-foot" }),
      this.minimap,
    );
    this.listen();
  }

  /** Draw this one, now or again with more of it. */
  show(conversation, peaks) {
    Object.assign(this, { conversation, peaks, colour: null });
    const { partings } = this.marks ?? { partings: [] };
    this.marks = { ...marksOf(conversation), partings };
    this.stops = [...this.marks.overlaps, ...this.marks.latencies, ...this.marks.problems, ...this.marks.speech].sort(byBegin);
    this.arrange();
    this.canvas.setAttribute("aria-valuemax", String(conversation.seconds));
    this.canvas.setAttribute("aria-description", overview(conversation));
    this.fit();
    this.draw();
  }

  /** Where the lanes lie; on narrow screens their names stand above them. */
  arrange() {
    const parts = new Set(this.conversation.calls.map((call) => call.part));
    const used = (name) => !ROWS.includes(name) || parts.has(name) || (!parts.size && name !== "tool");
    this.compact = this.narrow.matches;
    this.place = layout(used, this.compact ? ABOVE_PX : 0);
    this.labels();
  }

  part(at, line) {
    this.marks.partings = at === null ? [] : [mark("parting", { line }, at)];
    this.draw();
  }

  labels() {
    const entries = LANES.filter(({ name, label }) => label && this.place.lanes[name]).map(({ name, label }) => {
      const lane = this.place.lanes[name];
      const [top, height] = this.compact ? [lane.top - ABOVE_PX, ABOVE_PX] : [lane.top, lane.height];
      const side = name === "user" || name === "assistant";
      const item = make(
        "div",
        { class: "lane-label", dataset: { lane: name } },
        make("span", {}, label),
        side ? (this.mutes[name] ??= this.muter(name, label)) : "",
      );
      item.style.top = `${top}px`;
      item.style.height = `${height}px`;
      return item;
    });
    this.gutter.replaceChildren(...entries);
    this.gutter.style.height = `${this.place.height}px`;
    this.stage.style.height = `${this.place.height}px`;
  }

  muter(side, label) {
    const button = make("button", {
      type: "button",
      class: "mute",
      onclick: () => this.player.setLoud(side, this.player.loud[side] ? 0 : 1),
    });
    const show = () => {
      const on = this.player.loud[side] > 0;
      button.replaceChildren(icon(on ? ICONS.sound : ICONS.silent));
      button.setAttribute("aria-pressed", String(!on));
      button.setAttribute("aria-label", `Silence ${label}`);
      button.title = on ? `Silence ${label}` : `Hear ${label}`;
    };
    show();
    this.player.addEventListener("change", () => {
      show();
      this.draw();
    });
    return button;
  }

  // ---- drawing

  fit() {
    const { width } = this.stage.getBoundingClientRect();
    if (!width || !this.place) return;
    if (this.compact !== this.narrow.matches) this.arrange();
    this.ratio = globalThis.devicePixelRatio || 1;
    for (const [canvas, height] of [
      [this.canvas, this.place.height],
      [this.map, MAP_PX],
    ]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
      canvas.style.height = `${height}px`;
    }
    this.mapDrawn = false;
    this.view.resize(width);
    this.draw();
  }

  draw() {
    if (this.asked || this.closed) return;
    this.asked = true;
    this.frame = requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  /** Draw when a little more has come. */
  soon() {
    this.later ??= setTimeout(() => {
      this.later = null;
      this.draw();
    }, SOON_MS);
  }

  paint() {
    const { view } = this;
    if (!this.marks || !view.scale || !view.width) return;
    this.colour ??= colours(this.canvas);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    const { user, assistant } = this.conversation;
    const { lanes, height } = this.place;
    const muted = { user: !this.player.loud.user, assistant: !this.player.loud.assistant };
    const tracks = { user, assistant };
    const painting = new Painting({
      pen,
      view,
      lanes,
      height,
      marks: this.marks,
      peaks: this.peaks,
      tracks,
      colour: this.colour,
      chosen: this.chosen,
      muted,
      clock,
    });
    this.boxes = painting.paint();
    this.paintMap();
    this.move();
  }

  paintMap() {
    const { view, conversation, colour } = this;
    if (!this.mapDrawn) {
      this.mapDrawn = true;
      const pen = this.map.getContext("2d");
      pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      pen.clearRect(0, 0, view.width, MAP_PX);
      for (const { begin, end, one } of this.marks.states) {
        pen.globalAlpha = one.state === "idle" ? 0.45 : 0.85;
        pen.fillStyle = colour[one.state] || colour.faint;
        pen.fillRect(view.mapX(begin), 5, Math.max(0.5, view.mapX(end) - view.mapX(begin)), MAP_PX - 10);
      }
      pen.globalAlpha = 1;
      pen.fillStyle = colour.bad;
      for (const { begin } of this.marks.problems) pen.fillRect(view.mapX(begin) - 1, 2, 2, MAP_PX - 4);
    }
    const left = view.mapX(Math.max(0, view.from));
    const right = view.mapX(Math.min(conversation.seconds, view.to));
    this.window.style.transform = `translateX(${left - 2}px)`;
    this.window.style.width = `${Math.max(10, right - left + 4)}px`;
    this.minimap.classList.toggle("whole", view.fitted);
  }

  /** Put the playhead where it is. */
  move() {
    const at = this.player.position;
    const x = this.view.x(at);
    this.head.style.transform = `translateX(${x}px)`;
    this.head.hidden = x < -1 || x > this.view.width + 1;
    const state = this.marks?.states.findLast((one) => one.begin <= at)?.one.state ?? "";
    this.canvas.setAttribute("aria-valuenow", at.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", `${clock(at)}${state ? `, ${state}` : ""}`);
    this.dispatchEvent(new Event("moved"));
  }

  /** While it plays, the playhead moves, and the view with it. */
  follow() {
    this.move();
    if (this.moving) return;
    const step = () => {
      this.moving = this.player.playing && !this.closed;
      if (!this.moving) return this.closed || this.move();
      if (!this.pointers.size) {
        const x = this.view.x(this.player.position);
        if (x > 0.97 * this.view.width && !this.view.fitted) this.view.pan(x - 0.06 * this.view.width);
      }
      this.move();
      requestAnimationFrame(step);
    };
    if (this.player.playing) step();
  }

  // ---- choosing

  /** What lies under a point: of several the smallest. */
  under(x, y) {
    const hits = this.boxes.filter(
      (box) => x >= box.left - NEAR_PX && x <= box.right + NEAR_PX && y >= box.top - 2 && y <= box.bottom + 2,
    );
    return hits.sort((a, b) => a.right - a.left - (b.right - b.left))[0]?.mark ?? null;
  }

  choose(chosen, { reveal = false } = {}) {
    this.chosen = chosen;
    if (chosen && reveal) this.view.reveal(chosen.begin);
    this.draw();
    this.dispatchEvent(new CustomEvent("chosen", { detail: chosen }));
  }

  /** The next thing worth a look, or the one before. */
  step(direction) {
    const at = this.player.position;
    const here = this.chosen && Math.abs(this.chosen.begin - at) < 0.01;
    const index = here ? this.stops.indexOf(this.chosen) : -1;
    const next =
      index >= 0
        ? this.stops[index + direction]
        : direction > 0
          ? this.stops.find((one) => one.begin > at + 1e-6)
          : this.stops.findLast((one) => one.begin < at - 1e-6);
    if (!next) return;
    this.player.seek(next.begin);
    this.choose(next, { reveal: true });
    say(heading(next, this.conversation));
  }

  // ---- pointer

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.over(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    const drag = (event) => {
      if (!event.buttons) return;
      const { left } = this.minimap.getBoundingClientRect();
      const at = this.view.mapAt(event.clientX - left);
      this.view.set(at - (this.view.to - this.view.from) / 2, this.view.scale);
    };
    this.minimap.addEventListener("pointerdown", (event) => {
      this.minimap.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.minimap.addEventListener("pointermove", drag);
  }

  point(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.point(event);
    this.pointers.set(event.pointerId, { ...point, from: point, moved: false });
    this.tip.hidden = true;
  }

  over(event) {
    const known = this.pointers.get(event.pointerId);
    const point = this.point(event);
    if (!known) return this.hover(point);
    const before = this.spread();
    const dx = point.x - known.x;
    Object.assign(known, point);
    if (this.pointers.size === 2) {
      const now = this.spread();
      this.view.pan(before.middle - now.middle);
      if (before.width > 8) this.view.zoom(now.width / before.width, now.middle);
      for (const one of this.pointers.values()) one.moved = true;
      return;
    }
    known.moved ||= Math.hypot(point.x - known.from.x, point.y - known.from.y) > DRAG_PX;
    if (known.moved) this.view.pan(-dx);
  }

  spread() {
    const xs = [...this.pointers.values()].map((one) => one.x);
    return { middle: xs.reduce((sum, x) => sum + x, 0) / xs.length, width: Math.max(...xs) - Math.min(...xs) };
  }

  up(event) {
    const known = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!known || known.moved || event.type === "pointercancel") return;
    this.click(known.x, known.y);
  }

  /** On the waveforms: hear from there. Elsewhere: see what it is. */
  click(x, y) {
    const { lanes } = this.place;
    const found = this.under(x, y);
    const at = this.view.at(x);
    if (y < lanes.states.top - 4) {
      this.dispatchEvent(new Event("heard"));
      this.player.seek(at, true);
    } else if (found) this.player.seek(found.begin);
    this.choose(found);
  }

  hover({ x, y }) {
    const found = this.under(x, y);
    const { lanes } = this.place ?? {};
    this.canvas.classList.toggle("pointing", Boolean(found) || (lanes && y < lanes.states.top - 4));
    this.tip.hidden = !found;
    if (!found) return;
    const told = describe(found, this.conversation);
    this.tip.replaceChildren(
      make("strong", {}, told.title),
      make("span", {}, ` ${clock(found.begin, 2)}`),
      told.line ? make("p", {}, told.line) : "",
    );
    const width = this.tip.offsetWidth;
    const left = Math.max(4, Math.min(this.view.width - width - 4, x - width / 2));
    const below = y + 22 + this.tip.offsetHeight < this.place.height + 40;
    this.tip.style.transform = `translate(${left}px, ${below ? y + 22 : y - this.tip.offsetHeight - 14}px)`;
  }

  wheel(event) {
    event.preventDefault();
    this.tip.hidden = true;
    const unit = event.deltaMode === 1 ? 18 : 1;
    const [dx, dy] = event.shiftKey ? [event.deltaY || event.deltaX, 0] : [event.deltaX, event.deltaY];
    if (Math.abs(dx) > Math.abs(dy)) this.view.pan(dx * unit);
    else this.view.zoom(Math.exp(-dy * unit * WHEEL * (event.ctrlKey ? 4 : 1)), this.point(event).x);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { player, view } = this;
    const leap = event.shiftKey ? 5 : Math.min(1, 40 / view.scale);
    const keys = {
      ArrowLeft: () => player.seek(player.position - leap),
      ArrowRight: () => player.seek(player.position + leap),
      ArrowUp: () => view.zoom(KEY_ZOOM, this.middle()),
      ArrowDown: () => view.zoom(1 / KEY_ZOOM, this.middle()),
      "+": () => view.zoom(KEY_ZOOM, this.middle()),
      "=": () => view.zoom(KEY_ZOOM, this.middle()),
      "-": () => view.zoom(1 / KEY_ZOOM, this.middle()),
      Home: () => player.seek(0),
      End: () => player.seek(player.seconds),
      " ": () => this.play(),
      Enter: () => this.play(),
      n: () => this.step(1),
      p: () => this.step(-1),
      f: () => view.fit(),
      Escape: () => this.choose(null),
    };
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
    if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") view.reveal(player.position);
  }

  play() {
    this.dispatchEvent(new Event("heard"));
    this.player.toggle();
  }

  /** Zoom around the playhead, if it is in sight. */
  middle() {
    const x = this.view.x(this.player.position);
    return x >= 0 && x <= this.view.width ? x : this.view.width / 2;
  }
}
