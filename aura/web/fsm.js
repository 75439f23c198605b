/** The conversation's state machine as a drawing: the active state is lit, the last move runs along its arrow. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 420;
const HEIGHT = 300;
const HALF = { x: 58, y: 21 }; // of a node
const GAP = 5; // between a node and its arrows
const MOVE_MS = 550;

const NODES = {
  listening: { x: 64, y: 36, note: "you have the floor" },
  thinking: { x: 356, y: 36, note: "the answer is being made" },
  interrupted: { x: 210, y: 150, note: "did you mean to interrupt?" },
  idle: { x: 64, y: 264, note: "nobody has the floor" },
  speaking: { x: 356, y: 264, note: "the answer is being heard" },
};

/** From, to, how far the arrow bends to its left, and where its ends lie on the nodes. */
const EDGES = [
  ["idle", "listening", 0, [-18, 0], [-18, 0]],
  ["listening", "idle", 0, [-2, 0], [-2, 0]],
  ["listening", "thinking", 0, [0, -5], [0, -5]],
  ["thinking", "speaking", 0, [18, 0], [18, 0]],
  ["speaking", "thinking", 0, [2, 0], [2, 0]],
  ["speaking", "idle", 0, [0, 5], [0, 5]],
  ["thinking", "interrupted", 11, [-14, 0], [14, 0]],
  ["interrupted", "thinking", 11, [14, 0], [-14, 0]],
  ["speaking", "interrupted", 11, [-14, 0], [14, 0]],
  ["interrupted", "speaking", 11, [14, 0], [-14, 0]],
  ["interrupted", "listening", 0, [-14, 0], [24, 0]],
  ["interrupted", "idle", 0, [-14, 0], [24, 0]],
  ["idle", "thinking", 74, [14, 0], [0, 8]],
  ["thinking", "idle", 74, [-14, 0], [0, -8]],
];

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function make(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.append(element);
  return element;
}

const inside = (node, p) => Math.abs(p.x - node.x) < HALF.x + GAP && Math.abs(p.y - node.y) < HALF.y + GAP;

/** A quadratic curve from node to node, without what the nodes cover. */
function curve(from, to, bend, [fromX, fromY], [toX, toY]) {
  const a = { x: NODES[from].x + fromX, y: NODES[from].y + fromY };
  const b = { x: NODES[to].x + toX, y: NODES[to].y + toY };
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const c = {
    x: (a.x + b.x) / 2 + (2 * bend * (b.y - a.y)) / length,
    y: (a.y + b.y) / 2 - (2 * bend * (b.x - a.x)) / length,
  };
  const mix = (p, q, t) => ({ x: p.x + (q.x - p.x) * t, y: p.y + (q.y - p.y) * t });
  const at = (t) => mix(mix(a, c, t), mix(c, b, t), t);
  let [t0, t1] = [0, 1];
  while (t0 < 0.5 && inside(NODES[from], at(t0))) t0 += 0.002;
  while (t1 > 0.5 && inside(NODES[to], at(t1))) t1 -= 0.002;
  const control = mix(mix(a, c, t0), mix(c, b, t0), t1); // of the part between t0 and t1 (blossom)
  const text = (p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
  return `M${text(at(t0))}Q${text(control)} ${text(at(t1))}`;
}

export class Fsm {
  constructor(parent) {
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }, parent);
    this.title = make("title", {}, this.svg);
    const defs = make("defs", {}, this.svg);
    for (const kind of ["faint", "lit"]) this.arrowhead(defs, kind);
    this.edges = new Map();
    for (const [from, to, ...shape] of EDGES) {
      const d = curve(from, to, ...shape);
      this.edges.set(`${from} ${to}`, make("path", { d, class: "edge", "marker-end": "url(#arrow-faint)" }, this.svg));
    }
    this.trail = make("path", { class: "trail", pathLength: 1 }, this.svg);
    this.nodes = new Map(Object.entries(NODES).map(([name, place]) => [name, this.node(name, place)]));
    this.spark = make("circle", { class: "spark", r: 4.5 }, this.svg);
    this.state = "";
    this.set("idle");
  }

  arrowhead(defs, kind) {
    const box = { id: `arrow-${kind}`, class: `arrow ${kind}`, viewBox: "0 0 8 8", refX: 6.5, refY: 4 };
    const marker = make("marker", { ...box, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" }, defs);
    make("path", { d: "M1 1L7 4L1 7" }, marker);
  }

  node(name, { x, y }) {
    const group = make("g", { class: "node", transform: `translate(${x} ${y})` }, this.svg);
    const box = { x: -HALF.x, y: -HALF.y, width: 2 * HALF.x, height: 2 * HALF.y, rx: HALF.y };
    make("rect", { ...box, class: "halo" }, group);
    make("rect", { ...box, class: "body" }, group);
    make("text", { "text-anchor": "middle", dy: "0.34em" }, group).textContent = name;
    return group;
  }

  /** Light a state without a move. */
  set(now) {
    this.state = now;
    for (const [name, group] of this.nodes) group.classList.toggle("active", name === now);
    this.title.textContent = `State: ${now}, ${NODES[now].note}`;
  }

  /** Show a move. */
  move(was, now) {
    if (!NODES[now]) return;
    this.set(now);
    const edge = this.edges.get(`${was} ${now}`);
    this.trail.classList.toggle("shown", Boolean(edge));
    this.run?.cancel();
    this.spark.classList.remove("shown");
    if (!edge) return;
    this.trail.setAttribute("d", edge.getAttribute("d"));
    this.trail.setAttribute("marker-end", "url(#arrow-lit)");
    if (!calm()) this.animate(edge);
  }

  animate(edge) {
    const length = edge.getTotalLength();
    this.trail.removeAttribute("marker-end");
    this.run = this.trail.animate([{ strokeDashoffset: 1 }, { strokeDashoffset: 0 }], { duration: MOVE_MS, easing: "ease-out" });
    const run = this.run;
    this.spark.classList.add("shown");
    const step = () => {
      if (run.playState !== "running") return;
      const done = run.effect.getComputedTiming().progress ?? 1;
      const { x, y } = edge.getPointAtLength(length * done);
      this.spark.setAttribute("transform", `translate(${x} ${y})`);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
    run.onfinish = () => {
      this.spark.classList.remove("shown");
      this.trail.setAttribute("marker-end", "url(#arrow-lit)");
    };
  }
}
