/** The transcript: what was said and heard, and between it what was decided. A click on a word is heard from there. */

import { describe } from "./describe.js";
import { calm, clock, make } from "./util.js";
import { waterfall } from "./waterfall.js";

const FIRST_ROWS = 40;
const LATER_ROWS = 25;
const WHO = { user: "User", assistant: "AURA", system: "Instruction" };
const NOTES = {
  dismissed: "not taken for a turn",
  cancelled: "cut off",
  failed: "failed",
  redacted: "the words were not kept",
  no_words: "no words were understood",
};
const UNHEARD = { unheard: "Sent, but not heard", unsent: "Written by the model, never sent" };

export class Words {
  /** `hear(at)` plays from there, `choose(mark)` shows a decision. */
  constructor(parent, { hear, choose }) {
    Object.assign(this, { parent, hear, choose, lit: null, conversation: null });
    this.list = make("ol", { class: "said", "aria-label": "Transcript" });
    parent.append(this.list);
    parent.addEventListener("click", (event) => this.click(event));
  }

  show(conversation, marks) {
    this.conversation = conversation;
    const times = new Map(conversation.latencies.map((one) => [one.reply, one]));
    const rows = [
      ...conversation.transcript.map((entry) => ({
        at: entry.at,
        order: 1,
        make: () => this.entry(entry, times.get(entry.reply)),
      })),
      ...marks.overlaps.map((mark) => ({ at: mark.end, order: 2, make: () => this.decision(mark) })),
      ...marks.problems.map((mark) => ({ at: mark.begin, order: 0, make: () => this.decision(mark) })),
    ].sort((a, b) => a.at - b.at || a.order - b.order);
    this.spans = [];
    this.list.replaceChildren();
    clearTimeout(this.adding);
    this.add(rows, 0);
    if (!rows.length) this.list.append(make("li", { class: "silence" }, "Nothing was said."));
  }

  /** A long call has thousands of rows: the first at once, the others while there is time. */
  add(rows, from) {
    const to = from + (from ? LATER_ROWS : FIRST_ROWS);
    this.list.append(...rows.slice(from, to).map((row) => row.make()));
    this.spans.sort((a, b) => a.begin - b.begin);
    if (to < rows.length) this.adding = setTimeout(() => this.add(rows, to), 0);
  }

  close() {
    clearTimeout(this.adding);
  }

  entry(entry, latency) {
    const note = NOTES[entry.note];
    const item = make(
      "li",
      { class: `entry ${entry.who} ${entry.note}` },
      make(
        "p",
        { class: "head" },
        make("span", { class: "who" }, WHO[entry.who]),
        make(
          "button",
          { type: "button", class: "at", "data-at": String(entry.at), "aria-label": `Hear from ${clock(entry.at)}` },
          clock(entry.at),
        ),
        entry.how === "spoken" ? "" : make("span", { class: "note" }, entry.how === "typed" ? "typed" : "written"),
        note ? make("span", { class: "note" }, note) : "",
      ),
      make("p", { class: "words" }, ...entry.parts.filter((part) => part.text).map((part) => this.part(part))),
    );
    if (entry.who === "assistant" && latency) item.append(waterfall(latency));
    return item;
  }

  part(part) {
    if (part.fate !== "heard") {
      const lead = part.text.match(/^\s*/)[0];
      const gone = make("del", { class: part.fate, title: UNHEARD[part.fate] }, part.text.slice(lead.length));
      return make("span", {}, lead, make("span", { class: "visually-hidden" }, ` (${UNHEARD[part.fate].toLowerCase()}:) `), gone);
    }
    if (part.begin === null) return make("span", {}, part.text);
    const span = make("span", { class: "sentence" }, part.text);
    this.spans.push({ begin: part.begin, end: part.end, span });
    Object.assign(span.dataset, { begin: part.begin, end: part.end });
    return span;
  }

  decision(mark) {
    const told = describe(mark, this.conversation);
    const numbers =
      mark.kind === "overlap" && mark.one.voiced_ms
        ? ` ${mark.one.voiced_ms} ms spoken, output held for ${mark.one.held_ms} ms.`
        : "";
    const button = make(
      "button",
      { type: "button", class: `decision ${told.kind}` },
      make("i"),
      make("strong", {}, told.title),
      make("span", { class: "at" }, clock(mark.end)),
      make("span", { class: "why" }, `${told.line}${numbers}`),
    );
    button.addEventListener("click", () => this.choose(mark));
    return make("li", {}, button);
  }

  /** From the word that was clicked, as well as it is known when it sounded. */
  click(event) {
    const at = event.target.closest("[data-at]");
    if (at) return this.hear(Number(at.dataset.at));
    const span = event.target.closest(".sentence");
    if (!span || String(getSelection())) return;
    const { begin, end } = span.dataset;
    this.hear(Number(begin) + (Number(end) - Number(begin)) * this.share(span, event));
  }

  /** How far into a text a point is, at the beginning of its word. */
  share(span, { clientX, clientY }) {
    const range = document.caretPositionFromPoint?.(clientX, clientY) ?? document.caretRangeFromPoint?.(clientX, clientY);
    const node = range?.offsetNode ?? range?.startContainer;
    const offset = range?.offset ?? range?.startOffset ?? 0;
    if (!node || !span.contains(node)) return 0;
    const text = span.textContent;
    return Math.max(0, text.slice(0, offset).search(/\S*$/)) / Math.max(1, text.length);
  }

  /** Light what sounds now, and keep it in sight while it plays. */
  light(at, playing) {
    let low = 0;
    let high = this.spans?.length ?? 0;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.spans[middle].begin <= at) low = middle + 1;
      else high = middle;
    }
    let found = null;
    for (let i = low - 1; i >= Math.max(0, low - 3); i--) if (this.spans[i].end >= at) found ??= this.spans[i].span;
    if (found === this.lit) return;
    this.lit?.classList.remove("lit");
    this.lit = found;
    found?.classList.add("lit");
    if (found && playing && this.parent.dataset.follow !== "off") this.keep(found);
  }

  /** Scroll only the transcript, and only if it is a box of its own. */
  keep(span) {
    const box = this.parent;
    if (box.scrollHeight <= box.clientHeight + 4) return;
    const { top, bottom } = span.getBoundingClientRect();
    const around = box.getBoundingClientRect();
    if (top < around.top + 40 || bottom > around.bottom - 60)
      box.scrollBy({ top: top - around.top - around.height / 3, behavior: calm() ? "auto" : "smooth" });
  }
}
