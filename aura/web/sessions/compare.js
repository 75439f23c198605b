/** Two recordings, or a recording and its branch: one time axis, two timelines, and where they part. */

import { api } from "./api.js";
import { momentInAddress, troubles } from "./conversation.js";
import { Details } from "./details.js";
import { Peaks } from "./peaks.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { transport } from "./transport.js";
import { ICONS, calm, clock, date, ending, icon, make, plural, span } from "./util.js";
import { View } from "./view.js";
import { Words } from "./words.js";

const AROUND_S = 4;
const SIDES = ["A", "B"];

/** One of the two may be over by then. */
const earlier = ({ left_at, right_at }) => Math.min(left_at ?? Infinity, right_at ?? Infinity);

export class ComparePage {
  constructor(parent, left, right, go) {
    Object.assign(this, { parent, ids: [left, right], go, stop: new AbortController() });
    parent.dataset.view = "compare";
    parent.setAttribute("aria-busy", "true");
    parent.replaceChildren(make("p", { class: "loading" }, "Opening both…"));
    this.load();
  }

  close() {
    this.closed = true;
    this.stop.abort();
    for (const side of this.sides ?? []) {
      side.player.close();
      side.peaks.close();
      side.timeline.close();
      side.words.close();
    }
  }

  async load() {
    try {
      const { signal } = this.stop;
      const [comparison, ...both] = await Promise.all([
        api.compare(...this.ids),
        ...this.ids.map((id) => api.conversation(id, false, signal)),
      ]);
      if (!this.closed) this.show(comparison, both);
    } catch (error) {
      if (error.name !== "AbortError") this.go.failed(error, this.parent);
    }
  }

  show(comparison, both) {
    this.view = new View(Math.max(...both.map((one) => one.seconds)));
    this.sides = both.map((conversation, index) => this.side(conversation, index, comparison));
    const panel = make("section", { class: "card details", "aria-label": "Details", hidden: true });
    this.details = new Details(panel, (at) => this.playing?.player.seek(at, true));
    this.panel = panel;
    this.parent.replaceChildren(
      make(
        "div",
        { class: "title" },
        make(
          "a",
          { class: "tool back", href: "./", "data-link": true, "aria-label": "All recordings", title: "All recordings" },
          icon(ICONS.back),
        ),
        make(
          "div",
          {},
          make("p", { class: "big" }, both.some((one) => one.branch) ? "A recording and its branch" : "Two recordings"),
          make("p", { class: "sub" }, this.verdict(comparison)),
        ),
      ),
      ...this.sides.map((side) => side.board),
      make("div", { class: "pair" }, this.parted(comparison), panel, this.settings(comparison)),
      make("div", { class: "below two" }, ...this.sides.map((side) => side.transcript)),
    );
    for (const [index, side] of this.sides.entries()) this.start(side, both[index], comparison, index);
    this.parent.setAttribute("aria-busy", "false");
    document.title = "Two recordings · AURA";
    const at = momentInAddress();
    if (at !== null) for (const { player } of this.sides) player.seek(at);
  }

  verdict({ identical, parted, course }) {
    if (identical) return "They are the same, to the microsecond.";
    if (!parted) return "They take the same course; only small differences in time tell them apart.";
    const at = earlier(parted);
    const same =
      course === null
        ? "The same things happen in the same order all the same."
        : course.index > parted.index
          ? `The same kinds of things still happen up to ${clock(earlier(course), 2)}.`
          : "";
    return `They part at ${clock(at, 2)}, with fact ${parted.index + 1}. ${same}`;
  }

  side(conversation, index) {
    const name = SIDES[index];
    const player = new Player(conversation.id, conversation.seconds);
    const timeline = new Timeline(this.view, player, { name });
    const side = { name, player, timeline, peaks: new Peaks(conversation.id, conversation.seconds, () => timeline.soon()) };
    const controls = transport(player, this.view, () => conversation.seconds);
    const { branch } = conversation;
    const facts = [
      span(conversation.seconds),
      ending(conversation.outcome).text,
      plural(conversation.latencies.length, "answered turn"),
      branch ? "branch" : "",
    ].filter(Boolean);
    controls.element.prepend(make("span", { class: "letter" }, name));
    controls.element
      .querySelector(".zoom")
      .before(
        make(
          "p",
          { class: "which" },
          make("a", { href: `?id=${conversation.id}`, "data-link": true }, date(conversation.started)),
          make("span", {}, facts.join(" · ")),
        ),
      );
    side.board = make(
      "section",
      { class: "card board", "aria-label": `Timeline ${name}` },
      controls.element,
      troubles(conversation),
      timeline.element,
    );
    side.transcript = make(
      "section",
      { class: "card transcript", "aria-label": `Transcript ${name}`, tabindex: "-1" },
      make("h2", {}, make("span", { class: "letter" }, name), "Transcript"),
    );
    const hear = (at) => {
      this.only(side);
      player.seek(at, true);
    };
    const choose = (mark) => {
      player.seek(mark.begin);
      timeline.choose(mark, { reveal: true });
    };
    side.words = new Words(side.transcript, { hear, choose });
    timeline.addEventListener("heard", () => this.only(side));
    player.addEventListener("change", () => player.playing && this.only(side));
    timeline.addEventListener("moved", () => {
      controls.tick();
      side.words.light(player.position, player.playing);
    });
    timeline.addEventListener("chosen", ({ detail }) => {
      if (detail) this.only(side);
      this.panel.hidden = !detail;
      if (detail) this.details.show(detail, conversation);
    });
    return side;
  }

  start(side, conversation, { parted }, index) {
    side.timeline.show(conversation, side.peaks);
    side.words.show(conversation, side.timeline.marks);
    const at = parted ? (index ? parted.right_at : parted.left_at) : null;
    side.timeline.part(at, parted ? `Fact ${parted.index + 1} differs.` : "");
  }

  /** One is heard at a time. */
  only(side) {
    this.playing = side;
    for (const other of this.sides) if (other !== side && other.player.playing) other.player.pause();
  }

  parted({ parted }) {
    if (!parted) return "";
    const column = (facts, index) =>
      make(
        "div",
        { class: "column" },
        make("h3", {}, make("span", { class: "letter" }, SIDES[index])),
        make(
          "ol",
          {},
          ...facts.map((fact) => this.fact(fact, fact.n === parted.index + 1)),
          facts.some((fact) => fact.n > parted.index) ? "" : make("li", { class: "over" }, "It is over here."),
        ),
      );
    const at = earlier(parted);
    return make(
      "section",
      { class: "card parting" },
      make("h2", {}, "Where they part"),
      make(
        "p",
        { class: "when" },
        make(
          "button",
          { type: "button", class: "at", onclick: () => this.look(at) },
          `Fact ${parted.index + 1}, at ${clock(at, 2)}`,
        ),
      ),
      make("div", { class: "columns" }, column(parted.left, 0), column(parted.right, 1)),
    );
  }

  fact(fact, differs) {
    const fields = Object.entries(fact.fields)
      .filter(([, value]) => value !== null && value !== "")
      .map(([name, value]) => `${name} ${value}`);
    return make(
      "li",
      { class: differs ? "differs" : "" },
      make("span", { class: "n" }, String(fact.n)),
      make(
        "div",
        {},
        make("p", {}, make("strong", {}, fact.event), make("span", { class: "clock" }, ` ${clock(fact.at, 3)}`)),
        fields.length ? make("p", { class: "fields" }, fields.join(", ")) : "",
        make(
          "p",
          { class: "fields" },
          fact.was === fact.now ? `stays ${fact.now}` : `${fact.was} → ${fact.now}`,
          fact.orders.length ? `: ${fact.orders.join(", ")}` : "",
        ),
      ),
    );
  }

  look(at) {
    this.view.show(Math.max(0, at - AROUND_S), Math.min(this.view.seconds, at + 2 * AROUND_S));
    for (const { player } of this.sides) player.seek(at);
    this.parent.scrollTo?.({ top: 0, behavior: calm() ? "auto" : "smooth" });
  }

  settings({ settings }) {
    if (!settings.length) return "";
    const cell = (value) => (Array.isArray(value) ? value.join(", ") || "none" : value === "" ? "–" : String(value));
    return make(
      "section",
      { class: "card changed" },
      make("h2", {}, plural(settings.length, "setting differs", "settings differ")),
      make(
        "table",
        {},
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("th", {}, "Setting"),
            ...SIDES.map((name) => make("th", {}, make("span", { class: "letter" }, name))),
          ),
        ),
        make(
          "tbody",
          {},
          ...settings.map((one) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, one.name),
              make("td", {}, cell(one.left)),
              make("td", {}, cell(one.right)),
            ),
          ),
        ),
      ),
    );
  }
}
