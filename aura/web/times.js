/** Where a turn's time went, as a bar split by stage. */

const STAGES = [
  ["endpoint", "Knowing you had finished"],
  ["stt", "Transcribing"],
  ["llm_first_token", "First word of the answer"],
  ["first_sentence", "First sentence"],
  ["tts_first_audio", "Voice"],
  ["playout", "Starting to play"],
];
// An answer that is prepared during a pause waits at the end until it is certain that the turn is over.
const PREPARED = { endpoint: "Noticing your pause", playout: "Making sure you had finished" };
const SCALE_MS = 1500; // a full bar; longer turns fill it too

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

const round = (ms) => `${Math.round(ms)} ms`;

function stages({ ms, draft }) {
  const label = (key, usual) => (draft && PREPARED[key]) || usual;
  return STAGES.map(([key, usual], index) => ({ label: label(key, usual), index, ms: ms[key] ?? 0 }));
}

/** The bar; its length shows the whole against `SCALE_MS`, or against itself with `full`. */
function bar(turn, full = false) {
  const track = make("span", "track");
  const { voice_to_voice: total } = turn.ms;
  const whole = full ? total : Math.max(SCALE_MS, total);
  for (const stage of stages(turn)) {
    const part = make("span", `part s${stage.index}`);
    part.style.width = `${whole > 0 ? (100 * stage.ms) / whole : 0}%`;
    part.title = `${stage.label}: ${round(stage.ms)}`;
    if (stage.ms >= 1) track.append(part);
  }
  return track;
}

function legend(turn) {
  const list = make("dl", "legend");
  for (const { label, index, ms: time } of stages(turn)) {
    const row = make("div", time < 1 ? "row none" : "row");
    const name = make("dt", "", label);
    name.prepend(make("i", `swatch s${index}`));
    row.append(name, make("dd", "", round(time)));
    list.append(row);
  }
  return list;
}

const AHEAD = "The answer was prepared while you paused.";

/** Under an answer: the bar, and the figures when it is opened. */
export function details(turn) {
  const { ms, draft } = turn;
  const box = make("details", "latency");
  const summary = make("summary");
  summary.append(bar(turn), make("span", "total", round(ms.voice_to_voice)));
  summary.setAttribute("aria-label", `Response time ${round(ms.voice_to_voice)}: show its parts`);
  box.append(summary, legend(turn));
  if (draft) box.append(make("p", "aside", AHEAD));
  return box;
}

/** The card with the last turn. */
export class Times {
  constructor(parent) {
    this.parent = parent;
    this.parent.append(make("p", "aside", "After your first turn, this shows where its time went."));
  }

  show(turn) {
    const { ms, draft } = turn;
    const total = make("p", "headline");
    total.append(make("strong", "", String(Math.round(ms.voice_to_voice))), make("span", "", "ms"));
    const note = make("p", "aside", `From your last sound to the first of the answer.${draft ? ` ${AHEAD}` : ""}`);
    this.parent.replaceChildren(total, bar(turn, true), legend(turn), note);
  }
}
