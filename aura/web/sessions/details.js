/** The panel beside the transcript: the thing that was chosen, or the conversation as a whole. */

import { describe } from "./describe.js";
import { clock, date, ending, make, ms, plural, span } from "./util.js";
import { waterfall } from "./waterfall.js";

const list = (pairs) =>
  make(
    "dl",
    { class: "facts" },
    ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))),
  );

/** How much was said, against how much would have been enough. */
function gauge({ value, needed, label }) {
  const whole = Math.max(value, needed) * 1.15;
  const fill = make("span", { class: value >= needed ? "fill enough" : "fill" });
  fill.style.width = `${(100 * value) / whole}%`;
  const limit = make("span", { class: "limit" });
  limit.style.left = `${(100 * needed) / whole}%`;
  return make("div", { class: "gauge", role: "img", "aria-label": label }, fill, limit);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : null;
}

export class Details {
  constructor(parent, hear) {
    Object.assign(this, { parent, hear });
  }

  /** One mark, or (null) the whole. */
  show(mark, conversation) {
    this.parent.replaceChildren(...(mark ? this.one(mark, conversation) : this.whole(conversation)));
    this.parent.classList.toggle("chosen", Boolean(mark));
  }

  one(mark, conversation) {
    const told = describe(mark, conversation);
    const when = mark.end > mark.begin ? `${clock(mark.begin, 2)} – ${clock(mark.end, 2)}` : clock(mark.begin, 2);
    const flow = told.latency ? waterfall(told.latency) : "";
    if (flow) flow.open = true;
    return [
      make("h2", {}, make("i", { class: `dot ${told.kind}` }), told.title),
      make("p", { class: "when" }, make("button", { type: "button", class: "at", onclick: () => this.hear(mark.begin) }, when)),
      told.line ? make("p", { class: "line" }, told.line) : "",
      told.bar ? gauge(told.bar) : "",
      flow,
      told.rows.length ? list(told.rows) : "",
      ...(told.texts ?? []).map(([name, text]) => make("figure", {}, make("figcaption", {}, name), make("blockquote", {}, text))),
    ].filter(Boolean);
  }

  whole(conversation) {
    const waits = conversation.latencies.map((one) => one.ms.voice_to_voice);
    const meant = conversation.overlaps.filter((one) => one.confirmed).length;
    const end = ending(conversation.outcome);
    const engines = Object.entries(conversation.engines)
      .filter(([part]) => part !== "backup_tts")
      .map(([part, name]) => [{ stt: "Speech to text", chat: "Model", tts: "Voice" }[part] ?? part, name]);
    return [
      make("h2", {}, "This conversation"),
      list([
        ["Began", date(conversation.started)],
        ["Lasted", span(conversation.seconds)],
        ["Ended", end.text],
        ["Turns answered", conversation.latencies.length],
        ["Response time", waits.length ? `${ms(median(waits))}, at most ${ms(Math.max(...waits))}` : "–"],
        [
          "Interruptions",
          `${meant}${conversation.overlaps.length > meant ? `, and ${plural(conversation.overlaps.length - meant, "false alarm")}` : ""}`,
        ],
        ["Errors", conversation.problems.length],
        ...engines,
        ...(conversation.software ? [["AURA", conversation.software]] : []),
      ]),
      this.settings(conversation.settings),
      make(
        "p",
        { class: "keys" },
        "On the timeline: ",
        ...keys([
          ["Space", "play"],
          ["←", "→", "move"],
          ["N", "P", "next, previous decision"],
          ["+", "−", "zoom"],
          ["F", "see all"],
        ]),
      ),
    ];
  }

  settings(settings) {
    const rows = [];
    const walk = (value, name) => {
      if (value && typeof value === "object" && !Array.isArray(value))
        for (const [key, inner] of Object.entries(value)) walk(inner, name ? `${name}.${key}` : key);
      else rows.push([name, Array.isArray(value) ? value.join(", ") || "none" : value === "" ? "–" : value]);
    };
    walk(settings, "");
    return rows.length
      ? make("details", { class: "settings" }, make("summary", {}, `Its ${rows.length} settings`), list(rows))
      : "";
  }
}

function keys(groups) {
  return groups.flatMap((group) => [...group.slice(0, -1).map((key) => make("kbd", {}, key)), ` ${group.at(-1)}  `]);
}
