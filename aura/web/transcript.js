/** The running transcript. What of an answer was not heard, because the user interrupted, is struck through. */

const LETTERS_PER_MS = 0.015; // usual speech rate, until this voice's is known
const WORD = /\s*\S+/g;

/** An answer's text over the time of its audio: which words have been heard at a position. */
export class Spoken {
  constructor() {
    this.sentences = []; // {text, start, end}: milliseconds of the item's audio; end null while it grows
    this.received = 0;
  }

  get text() {
    return this.sentences.map(({ text }) => text).join("");
  }

  /** The text of the audio that follows. */
  add(text) {
    this.close();
    this.sentences.push({ text, start: this.received, end: null });
  }

  /** The text so far, told once more: only what is new of it follows. */
  again(text) {
    const rest = text.startsWith(this.text) ? text.slice(this.text.length) : text;
    if (rest === text) this.sentences = [];
    if (rest) this.add(rest);
  }

  grow(ms) {
    this.received += ms;
  }

  close() {
    const last = this.sentences.at(-1);
    if (last && last.end === null) last.end = this.received;
  }

  /** How many letters of the text had been heard after `ms`, in whole words. */
  heard(ms) {
    let before = 0;
    for (const { text, start, end } of this.sentences) {
      const length = end === null ? Math.max(this.received - start, text.length / this.rate()) : end - start;
      const part = length > 0 ? (ms - start) / length : Number(ms >= start);
      if (part < 1 || end === null) return before + wholeWords(text, part * text.length);
      before += text.length;
    }
    return before;
  }

  rate() {
    const done = this.sentences.filter(({ start, end }) => end !== null && end > start);
    const ms = done.reduce((sum, { start, end }) => sum + end - start, 0);
    return (done.reduce((sum, { text }) => sum + text.length, 0) + LETTERS_PER_MS * 1000) / (ms + 1000);
  }
}

function wholeWords(text, letters) {
  let end = 0;
  for (const word of text.matchAll(WORD)) {
    const close = word.index + word[0].length;
    if (close - word[0].trim().length * 0.4 > letters) break;
    end = close;
  }
  return end;
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** One entry of the list. */
class Entry {
  constructor(list, who, name) {
    this.element = make("li", `entry ${who}`);
    this.element.append(make("span", "who", name));
    this.body = make("p", "words");
    this.element.append(this.body);
    list.append(this.element);
  }

  pending(on) {
    this.element.classList.toggle("pending", on);
    if (on) this.body.replaceChildren(...[0, 1, 2].map(() => make("i", "dot")));
  }

  show(shown) {
    this.element.hidden = !shown;
  }
}

class Answer extends Entry {
  constructor(list) {
    super(list, "aura", "AURA");
    this.spoken = new Spoken();
    this.ended = "";
    this.known = null; // what the server says was heard
    this.pending(true);
    this.drawn = "";
  }

  draw(letters, rest) {
    const key = `${letters} ${rest} ${this.spoken.text.length}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.pending(false);
    const { text } = this.spoken;
    const parts = [make("span", "heard", text.slice(0, letters))];
    if (letters < text.length && rest === "del") {
      const gap = text.slice(letters).match(/^\s*/)[0];
      const del = make("del", "", text.slice(letters + gap.length));
      del.title = "You did not hear this";
      parts.push(gap, make("span", "visually-hidden", " (not heard:) "), del);
    } else if (letters < text.length) parts.push(make("span", "ahead", text.slice(letters)));
    this.body.replaceChildren(...parts);
  }

  /** The player has got so far. */
  progress(ms) {
    if (!this.ended && this.spoken.text) this.draw(this.spoken.heard(ms), "ahead");
  }

  /** It was cut off; returns what was heard of it. The server's account of that counts, where there is one. */
  cut(ms) {
    this.ended = "cut";
    const { text } = this.spoken;
    const told = typeof this.known === "string" && this.known.length < text.length && text.startsWith(this.known);
    const letters = told ? this.known.length : this.spoken.heard(ms);
    if (text) this.draw(letters, "del");
    return text.slice(0, letters);
  }

  finish() {
    this.ended ||= "whole";
    if (this.ended === "whole" && this.spoken.text) this.draw(this.spoken.text.length, "");
  }
}

export class Transcript {
  constructor(list, scroll) {
    Object.assign(this, { list, scroll, turns: new Map(), answers: new Map(), answer: null });
    this.follows = true;
    scroll.addEventListener("scroll", () => {
      this.follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    });
    new ResizeObserver(() => this.follow()).observe(list);
  }

  follow() {
    if (this.follows) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** The user speaks, or has spoken: `text` once it is known. */
  user(item, text) {
    let entry = this.turns.get(item);
    if (!entry) {
      entry = new Entry(this.list, "you", "You");
      this.turns.set(item, entry);
      this.follows = true;
    }
    if (text) {
      entry.pending(false);
      entry.body.textContent = text;
      entry.said = true;
    } else if (!entry.said) entry.pending(true);
    entry.show(true);
    this.follow();
  }

  /** Whether these words of the user are shown, perhaps under the name of a typed message. */
  knows(item, text) {
    return this.turns.get(item)?.said || [...this.turns].some(([id, { body }]) => id.startsWith("typed ") && body.textContent === text);
  }

  /** Nothing was said after all: put away what still waits for its words. */
  settle() {
    for (const entry of this.turns.values()) if (!entry.said) entry.show(false);
  }

  begin(response) {
    if (this.answers.has(response)) return; // announced once more
    this.answer = new Answer(this.list);
    this.answers.set(response, this.answer);
    this.follow();
  }

  /** The answer as an item. */
  of(item) {
    return this.answers.get(item);
  }

  name(response, item) {
    const answer = this.answers.get(response);
    if (answer) this.answers.set(item, answer);
  }

  /** The answer is over; one that never said anything goes. */
  end(response) {
    const answer = this.answers.get(response);
    if (answer && !answer.spoken.text) answer.element.remove();
  }

  /** A line between two connections. */
  divide(text) {
    if (this.list.lastElementChild?.classList.contains("divider") || !this.list.childElementCount) return;
    this.list.append(make("li", "divider", text));
  }
}
