/** The list of recordings, with search; it goes on by itself while there is more to look through. */

import { api } from "./api.js";
import { ICONS, day, ending, icon, make, ms, nameOf, plural, say, span, time } from "./util.js";

const OUTCOMES = [
  ["", "All"],
  ["interrupted", "Interrupted"],
  ["failed", "With errors"],
  ["cut short", "Cut short"],
  ["branch", "Branches"],
];
const TYPING_MS = 220;
const STATES = { i: "idle", l: "listening", t: "thinking", s: "speaking", x: "interrupted" };

export class List {
  /** `pick`: a recording that is already chosen to be compared with another one. */
  constructor(parent, go, pick) {
    Object.assign(this, { parent, go, chosen: new Map(pick ? [[pick, { id: pick }]] : []) });
    const query = new URLSearchParams(location.search);
    this.query = {
      q: query.get("q") ?? "",
      since: query.get("since") ?? "",
      until: query.get("until") ?? "",
      outcome: query.get("outcome") ?? "",
    };
    this.build();
    this.restart();
    this.offer();
  }

  close() {
    this.stop?.abort();
    clearTimeout(this.typing);
    this.watch?.disconnect();
  }

  build() {
    const typed = (name) => (event) => {
      this.query[name] = event.target.value;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.restart(), name === "q" ? TYPING_MS : 0);
    };
    const field = make("input", {
      type: "search",
      id: "search",
      placeholder: "Search words, or a session’s id",
      value: this.query.q,
      autocomplete: "off",
      spellcheck: "false",
      enterkeyhint: "search",
      oninput: typed("q"),
    });
    const dates = ["since", "until"].map((name) =>
      make(
        "label",
        { class: "date" },
        make("span", {}, name === "since" ? "From" : "To"),
        make("input", { type: "date", value: this.query[name], onchange: typed(name) }),
      ),
    );
    const choices = OUTCOMES.map(([value, text]) =>
      make(
        "label",
        { class: "choice" },
        make("input", {
          type: "radio",
          name: "outcome",
          value,
          checked: value === this.query.outcome,
          onchange: typed("outcome"),
        }),
        make("span", {}, text),
      ),
    );
    this.items = make("div", { class: "days" });
    this.status = make("p", { class: "status", role: "status" });
    this.end = make("div", { class: "end" });
    this.bar = make("div", { class: "compare-bar", hidden: true });
    this.parent.dataset.view = "list";
    this.parent.replaceChildren(
      make(
        "form",
        { class: "find", role: "search", onsubmit: (event) => event.preventDefault() },
        make(
          "div",
          { class: "search" },
          icon(ICONS.search),
          make("label", { class: "visually-hidden", for: "search" }, "Search"),
          field,
        ),
        make("fieldset", { class: "choices" }, make("legend", { class: "visually-hidden" }, "Which"), ...choices),
        make("div", { class: "dates" }, ...dates),
      ),
      this.items,
      this.status,
      this.end,
      this.bar,
    );
    this.watch = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && this.more(), {
      rootMargin: "400px",
    });
    this.watch.observe(this.end);
    this.parent.querySelector(".choice :checked").parentElement.scrollIntoView({ inline: "center", block: "nearest" });
  }

  /** Look again, from the newest on. */
  restart() {
    this.stop?.abort();
    this.stop = new AbortController();
    Object.assign(this, { next: undefined, shown: 0, looked: 0, lastDay: "", busy: false });
    const query = Object.fromEntries(Object.entries(this.query).filter(([, value]) => value));
    history.replaceState(null, "", `?${new URLSearchParams(query)}`.replace(/^\?$/, location.pathname));
    this.fresh = true;
    this.more();
  }

  async more() {
    if (this.busy || this.next === null) return;
    this.busy = true;
    const { q: text, ...rest } = this.query;
    const asked = Object.fromEntries(Object.entries({ ...rest, text, after: this.next ?? "" }).filter(([, value]) => value));
    const { signal } = this.stop;
    try {
      const page = await api.list(asked, signal);
      if (signal.aborted) return;
      this.add(page);
      this.busy = false;
      const room = this.end.getBoundingClientRect().top < innerHeight + 400;
      if (this.next !== null && (room || !page.items.length)) this.more();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.busy = false;
      this.next = null;
      this.go.failed(error, this.status);
    }
  }

  add(page) {
    if (this.fresh) this.items.replaceChildren();
    this.fresh = false;
    this.next = page.next;
    this.looked += page.looked;
    this.shown += page.items.length;
    for (const item of page.items) this.place(item);
    const searching = Object.values(this.query).some(Boolean);
    this.status.replaceChildren(...this.summary(page, searching));
    this.parent.classList.toggle("nothing", !this.shown && this.next === null);
    this.parent.setAttribute("aria-busy", "false");
    if (this.next === null) say(searching ? plural(this.shown, "recording") + " found" : plural(page.total, "recording"));
  }

  summary({ total }, searching) {
    if (this.next !== null) return searching ? [`${this.looked} of ${total} looked through…`] : [];
    if (this.shown) return [searching ? `${plural(this.shown, "recording")} of ${total}` : plural(total, "recording")];
    if (total) return [make("strong", {}, "Nothing fits."), " Try fewer words, or another day."];
    return [
      make("strong", {}, "No recordings yet."),
      " Start the server with ",
      make("code", {}, "aura serve --record"),
      ", and ",
      make("a", { href: "../" }, "have a conversation"),
      ". It appears here while you talk.",
    ];
  }

  place(item) {
    const title = day(item.started);
    if (title !== this.lastDay) {
      this.lastDay = title;
      this.rows = make("ol", {});
      this.items.append(make("section", {}, make("h2", {}, title), this.rows));
    }
    this.rows.append(this.row(item));
  }

  row(item) {
    const end = ending(item.outcome);
    const facts = [
      span(item.seconds),
      plural(item.turns, "turn"),
      item.interruptions ? plural(item.interruptions, "interruption") : "",
      item.voice_to_voice_ms === null ? "" : `${ms(item.voice_to_voice_ms)} to answer`,
    ].filter(Boolean);
    const badges = [
      item.branch ? ["branch", "branch"] : null,
      item.errors ? ["bad", plural(item.errors, "error")] : null,
      end.bad ? ["bad", end.text] : item.outcome === "going on" ? ["live", end.text] : null,
      item.trouble ? ["warn", "damaged"] : null,
      item.audio ? null : ["", "no audio"],
    ].filter(Boolean);
    const words = item.found || item.words;
    const link = make(
      "a",
      { href: `?id=${item.id}`, "data-link": true, class: "open" },
      words
        ? make("span", { class: "words" }, ...this.marked(words))
        : make("span", { class: "words none" }, item.turns ? "Words were not kept" : "Nobody said anything"),
    );
    const box = make("input", {
      type: "checkbox",
      "aria-label": `Compare ${nameOf(item.id)}`,
      checked: this.chosen.has(item.id),
      onchange: (event) => this.choose(item, event.target),
    });
    return make(
      "li",
      { class: "recording", dataset: { id: item.id } },
      make("time", { datetime: item.started }, time(item.started)),
      make(
        "div",
        { class: "what" },
        link,
        make("p", { class: "facts" }, facts.join(" · "), " ", make("span", { class: "id" }, nameOf(item.id))),
        item.trouble ? make("p", { class: "damage" }, item.trouble) : "",
      ),
      make("div", { class: "badges" }, ...badges.map(([kind, text]) => make("span", { class: `badge ${kind}` }, text))),
      strip(item.strip),
      make("label", { class: "pick", title: "Compare with another one" }, box),
    );
  }

  /** The searched words stand out. */
  marked(text) {
    const words = this.query.q
      .trim()
      .split(/\s+/)
      .filter(Boolean)
      .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    if (!words.length) return [text];
    return text.split(new RegExp(`(${words.join("|")})`, "gi")).map((part, index) => (index % 2 ? make("mark", {}, part) : part));
  }

  choose(item, box) {
    if (box.checked) this.chosen.set(item.id, item);
    else this.chosen.delete(item.id);
    while (this.chosen.size > 2) {
      const [first] = this.chosen.keys();
      this.chosen.delete(first);
      for (const other of this.items.querySelectorAll("li"))
        if (other.dataset.id === first) other.querySelector("input").checked = false;
    }
    this.offer();
  }

  /** What can be done with the chosen ones. */
  offer() {
    const [left, right] = [...this.chosen.keys()].sort();
    this.bar.hidden = !left;
    this.parent.classList.toggle("choosing", Boolean(left));
    this.bar.replaceChildren(
      right
        ? make("a", { class: "primary", href: `?id=${left}&with=${right}`, "data-link": true }, "Compare the two")
        : make("p", {}, "Choose another recording to compare it with."),
      make("button", { type: "button", class: "text", onclick: () => this.unchoose() }, "Cancel"),
    );
  }

  unchoose() {
    this.chosen.clear();
    for (const box of this.items.querySelectorAll(".pick input")) box.checked = false;
    this.bar.hidden = true;
    this.parent.classList.remove("choosing");
  }
}

/** The course of a conversation in small: a stretch for each state. */
function strip(letters) {
  const runs = [...letters.matchAll(/(.)\1*/g)].map(([run, letter]) => [STATES[letter], run.length]);
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${Math.max(1, letters.length)} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "strip");
  svg.setAttribute("aria-hidden", "true");
  let at = 0;
  for (const [state, length] of runs) {
    const rect = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ x: at, y: 0, width: length, height: 1, class: state }))
      rect.setAttribute(name, value);
    svg.append(rect);
    at += length;
  }
  return svg;
}
