/** One conversation: its timeline, its transcript, and the panel with what was chosen. */

import { api } from "./api.js";
import { Details } from "./details.js";
import { Peaks } from "./peaks.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { transport } from "./transport.js";
import { ICONS, date, ending, icon, make, nameOf, plural, say, span } from "./util.js";
import { View } from "./view.js";
import { Words } from "./words.js";

const LINKED_S = 40; // so much is seen around a linked moment of a long call
const LINK_MS = 400;

/** The moment in the address: `#t=12.3`. */
export function momentInAddress() {
  const found = location.hash.match(/^#t=([\d.]+)$/);
  return found ? Number(found[1]) : null;
}

/** What of a recording cannot be read. */
export function troubles({ unreadable: lines, outcome }, nothing = false) {
  if (!lines.length || (outcome === "going on" && lines.length === 1)) return ""; // it has no end yet
  return make(
    "div",
    { class: "damage", role: "note" },
    icon(ICONS.warn),
    make(
      "div",
      {},
      make("strong", {}, nothing ? "Nothing of this recording can be read." : "This recording is not whole. "),
      nothing ? "" : "What can be read of it is shown.",
      make("ul", {}, ...lines.map((line) => make("li", {}, line))),
    ),
  );
}

export class ConversationPage {
  constructor(parent, id, go) {
    Object.assign(this, { parent, id, go, stop: new AbortController(), conversation: null });
    parent.dataset.view = "conversation";
    parent.setAttribute("aria-busy", "true");
    parent.replaceChildren(make("p", { class: "loading" }, "Opening…"));
    this.load();
  }

  close() {
    this.closed = true;
    this.stop.abort();
    this.player?.close();
    this.peaks?.close();
    this.timeline?.close();
    this.words?.close();
    clearTimeout(this.linking);
  }

  /** The journal is read in no time, the tape of a long call in a second: what is known is shown. */
  async load() {
    const { signal } = this.stop;
    try {
      this.show(await api.conversation(this.id, true, signal), false);
      this.show(await api.conversation(this.id, false, signal), true);
    } catch (error) {
      if (error.name !== "AbortError") this.go.failed(error, this.parent);
    }
  }

  show(conversation, whole) {
    if (this.closed) return;
    this.conversation = conversation;
    if (!this.timeline) this.build(conversation);
    this.player.seconds = conversation.seconds;
    this.view.lengthen(conversation.seconds);
    if (whole) this.peaks = new Peaks(this.id, conversation.seconds, () => this.timeline.soon());
    this.timeline.show(conversation, this.peaks);
    this.head(conversation);
    const nothing = whole && !conversation.facts && !conversation.calls.length && !conversation.user.length;
    this.trouble.replaceChildren(whole ? troubles(conversation, nothing) : "");
    this.board.hidden = this.below.hidden = nothing;
    this.details.show(this.timeline.chosen, conversation);
    this.words.show(conversation, this.timeline.marks);
    this.controls.tick();
    if (!whole) return;
    this.parent.setAttribute("aria-busy", "false");
    document.title = `${conversation.transcript.find((one) => one.who === "user")?.parts[0].text || conversation.session} · AURA`;
    this.goTo(momentInAddress());
  }

  build(conversation) {
    const { parent } = this;
    this.view = new View(conversation.seconds);
    this.player = new Player(this.id, conversation.seconds);
    this.timeline = new Timeline(this.view, this.player);
    this.controls = transport(this.player, this.view, () => this.conversation.seconds);
    this.title = make("div", { class: "title" });
    this.trouble = make("div");
    this.board = make("section", { class: "card board", "aria-label": "Timeline" });
    this.below = make("div", { class: "below" });
    const said = make("section", { class: "card transcript", "aria-label": "Transcript", tabindex: "-1" });
    const panel = make("section", { class: "card details", "aria-label": "Details" });
    const hear = (at) => this.player.seek(at, true);
    this.words = new Words(said, { hear, choose: (mark) => this.choose(mark) });
    this.details = new Details(panel, hear);
    this.note = make("p", { class: "trouble", role: "alert" });
    parent.replaceChildren(this.title, this.trouble, this.board, this.below);
    this.board.append(this.controls.element, this.timeline.element, this.note);
    this.below.append(said, panel);
    this.timeline.addEventListener("chosen", ({ detail }) => this.details.show(detail, this.conversation));
    this.timeline.addEventListener("moved", () => this.moved());
    this.player.addEventListener("change", () => this.keepLink());
    this.player.addEventListener("failed", ({ detail }) => (this.note.textContent = `It cannot be played: ${detail.message}`));
  }

  head(conversation) {
    const end = ending(conversation.outcome);
    const { branch, problems } = conversation;
    this.title.replaceChildren(
      make(
        "a",
        { class: "tool back", href: "./", "data-link": true, "aria-label": "All recordings", title: "All recordings" },
        icon(ICONS.back),
      ),
      make(
        "div",
        {},
        make("p", { class: "big" }, date(conversation.started) || nameOf(this.id)),
        make(
          "p",
          { class: "sub" },
          make("span", {}, span(conversation.seconds)),
          make("span", { class: end.bad ? "bad" : "" }, end.text),
          make("span", { class: "id" }, nameOf(this.id)),
          problems.length ? make("span", { class: "bad" }, plural(problems.length, "error")) : "",
          branch ? make("span", { class: "branch" }, branch.from_fact ? `branch from fact ${branch.from_fact}` : "branch") : "",
        ),
      ),
      make(
        "div",
        { class: "acts" },
        make(
          "button",
          { type: "button", class: "text", onclick: () => this.copy() },
          icon(ICONS.link),
          make("span", {}, "Link to here"),
        ),
        make("a", { class: "text", href: `?pick=${this.id}`, "data-link": true }, make("span", {}, "Compare…")),
      ),
    );
  }

  choose(mark) {
    this.player.seek(mark.begin);
    this.timeline.choose(mark, { reveal: true });
  }

  moved() {
    this.controls.tick();
    this.words.light(this.player.position, this.player.playing);
  }

  goTo(at) {
    if (at === null || this.gone) return;
    this.gone = true;
    const { seconds } = this.conversation;
    if (seconds > 1.5 * LINKED_S) this.view.show(Math.max(0, at - LINKED_S / 4), Math.min(seconds, at + (3 * LINKED_S) / 4));
    this.player.seek(at);
    this.view.reveal(at);
  }

  /** The address always leads back to where the playhead rests. */
  keepLink() {
    clearTimeout(this.linking);
    this.linking = setTimeout(() => {
      const { position, playing } = this.player;
      if (!playing && (position > 0 || location.hash))
        history.replaceState(null, "", `${location.search}#t=${position.toFixed(1)}`);
    }, LINK_MS);
  }

  async copy() {
    history.replaceState(null, "", `${location.search}#t=${this.player.position.toFixed(1)}`);
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied.");
    } catch {
      say("The link is in the address bar.");
    }
    const label = this.title.querySelector(".acts button span");
    label.textContent = "In the address bar";
    if (navigator.clipboard) label.textContent = "Copied";
    setTimeout(() => (label.textContent = "Link to here"), 1600);
  }
}
