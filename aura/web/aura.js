/**
 * A client for AURA's endpoint, for any page: the Realtime protocol over WebSocket, audio in binary frames.
 *
 *     import { AuraClient } from "https://host/aura.js";
 *     const aura = new AuraClient("wss://host/v1/realtime", { instructions: "Be brief." });
 *     aura.addEventListener("event", ({ detail }) => ...);    // every event of the server, as an object
 *     aura.addEventListener("audio", ({ detail }) => ...);    // {item, pcm}: reply audio, PCM16 at 24 kHz
 *     aura.addEventListener("status", ({ detail }) => ...);   // {now: "off"|"connecting"|"on"|"waiting", ...}
 *     aura.addEventListener("resumed", ({ detail }) => ...);  // {same, gap_s, lost_s, items}: after a lost connection
 *     await aura.open(); aura.append(pcm); aura.say("Hello"); aura.close();
 *
 * A lost connection is made anew by itself. Within the server's grace the same conversation goes on: microphone audio
 * and messages given meanwhile are sent from where the server stopped hearing, and a reply goes on from where it was
 * heard. Its beginning is announced once more; the first text then has `anew: true` and replaces what came before,
 * and `aura.playout.resume` with `again: true` says from which position its audio comes again (`sound.js` leaves out
 * what it has already). Later the conversation is a new one, which is told what was said (`remember`).
 */

export const RATE = 24000;
export const FRAME_MS = 20;

const BACK_OFF_S = [0.25, 0.5, 1, 2, 4, 8, 15];
const OPEN_TIMEOUT_MS = 10000;
const STABLE_MS = 5000; // a connection that lived so long makes the next back-off start from the beginning
const BACKLOG_BYTES = RATE * 2; // a second of audio that the network has not taken; more waits here
const STUCK_MS = 5000; // a network that takes nothing for so long is gone
const KEPT_BYTES = 20 * RATE * 2;
const KEPT_MESSAGES = 256;
const KEPT_TURNS = 40;
const ENDED = [1000, 1001, 1003, 1007, 1008, 1009, 3000, 4000]; // closed on purpose: that session does not go on
const UNAUTHORISED = 3000;
const LOST = 4001;
const ANSWER = "response.create";
const ITEM = "conversation.item.create";
const TEXTS = ["response.output_audio_transcript.delta", "response.output_text.delta"];

const FORMAT = { type: "audio/pcm", rate: RATE };
const SESSION = {
  type: "realtime",
  audio: { input: { format: FORMAT, transcription: { model: "aura" } }, output: { format: FORMAT } },
};

export class AuraClient extends EventTarget {
  /**
   * `url`: the endpoint; `session`: further fields for `session.update` (instructions, tools, voice, ...).
   * `secret({fresh})`: gives a client secret (`ek_...`), or null where none is needed, also as a promise; `fresh`: the
   * last one was refused. `played()`: `{item, ms}`, how much of which item has sounded; else `acknowledge` tells it.
   */
  constructor(url, session = {}, { secret = null, played = null } = {}) {
    super();
    this.url = new URL(url);
    this.url.searchParams.set("model", this.url.searchParams.get("model") ?? "aura");
    this.url.searchParams.set("aura", "binary,events");
    this.session = { ...SESSION, ...session };
    this.secret = secret;
    this.played = played ?? (() => this.heard);
    this.history = []; // {role, text} for a new session after a lost one
    this.wanted = false;
    this.tries = 0;
    this.timer = 0;
    this.forget();
  }

  get connected() {
    return this.ready && this.socket?.readyState === WebSocket.OPEN;
  }

  /** Whether messages wait for a connection. */
  get pending() {
    return this.outbox.unsent.length > 0;
  }

  /** Connect, unless connected. Resolves once the session has begun, also after further tries. */
  open() {
    this.wanted = true;
    if (this.connected) return Promise.resolve();
    if (!this.attempt) this.dial();
    return new Promise((resolve) => this.addEventListener("begun", resolve, { once: true }));
  }

  /** End the conversation. */
  close(reason = "") {
    const { socket } = this;
    this.wanted = false;
    this.forget();
    socket?.close(1000, reason);
    this.tell("status", { now: "off" });
  }

  /** Try at once instead of waiting for the back-off. */
  retry() {
    if (this.wanted && !this.attempt) this.dial();
  }

  /** Send an event, or keep it until there is a connection again; false when there is no conversation. */
  send(event) {
    if (!this.wanted) return false;
    const { type, item } = event;
    if (type === ITEM) event = { ...event, item: { id: `item_${newId()}`, ...item } };
    if (item?.type === "message") this.remember(item.role, item.content?.[0]?.text ?? "");
    const kept = this.outbox.letter({ type, item: event.item?.id ?? "", text: JSON.stringify(event) });
    this.pump();
    return kept;
  }

  /** A frame of the microphone: PCM16, little-endian, 24 kHz. It is kept while the connection is being made. */
  append(pcm) {
    if (!this.wanted) return false;
    this.outbox.append(pcm);
    this.pump();
    return true;
  }

  /** A typed message, to be answered. */
  say(text) {
    this.send({ type: ITEM, item: itemOf("user", text) });
    this.send({ type: ANSWER });
  }

  /** Stop the answer. */
  cancel() {
    this.send({ type: "response.cancel" });
  }

  /** Tell the server how much of an item has been heard. */
  acknowledge(item, ms) {
    this.heard = { item, ms: Math.max(0, Math.round(ms)) };
    if (!this.connected) return;
    this.socket.send(JSON.stringify({ type: "aura.playout.ack", item_id: item, played_ms: this.heard.ms }));
  }

  /** Something said aloud, for the case that a new session must be told; what is written is remembered by itself. */
  remember(role, text) {
    if (text.trim()) this.history.push({ role, text });
    this.history.splice(0, this.history.length - KEPT_TURNS);
  }

  // ---- within

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** The conversation is over, here at least. */
  forget() {
    clearTimeout(this.timer);
    Object.assign(this, { attempt: null, socket: null, ready: false, fresh: false, id: "", item: "" });
    Object.assign(this, { lostAt: 0, stuckAt: 0, rejoined: false, pumping: 0 });
    Object.assign(this, { outbox: new Outbox(), texts: new Set(), again: new Set(), heard: { item: "", ms: 0 } });
  }

  async dial() {
    clearTimeout(this.timer);
    const attempt = (this.attempt = {});
    this.tell("status", { now: "connecting", tries: this.tries, again: Boolean(this.id) });
    let secret = null;
    try {
      secret = await this.secret?.({ fresh: this.fresh });
      this.fresh = false;
    } catch {
      if (attempt === this.attempt) this.lost(0, "", false);
      return;
    }
    if (attempt === this.attempt) this.connect(secret);
  }

  connect(secret) {
    this.item = "";
    const socket = new WebSocket(this.address(), secret ? ["realtime", `openai-insecure-api-key.${secret}`] : []);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const late = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS);
    let since = 0;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (data instanceof ArrayBuffer) return this.hear(this.item, data);
      const event = JSON.parse(data);
      if (event.type === "session.created") {
        clearTimeout(late);
        since = performance.now();
      }
      this.take(event);
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(late);
      if (socket !== this.socket) return;
      if (since && performance.now() - since > STABLE_MS) this.tries = 0;
      this.lost(code, reason, since > 0);
    };
  }

  address() {
    const url = new URL(this.url);
    if (!this.id) return url;
    const { item, ms } = this.played();
    url.searchParams.set("resume", this.id);
    if (item) url.searchParams.set("played", `${item}:${Math.max(0, Math.round(ms))}`);
    return url;
  }

  hear(item, pcm) {
    this.rejoined = false;
    this.tell("audio", { item, pcm });
  }

  take(event) {
    const { type } = event;
    if (type === "session.created") this.greeted(event.session);
    else if (type === "aura.resumed") this.resume(event);
    else if (type === "conversation.item.done") this.outbox.confirmed(ITEM, event.item.id);
    else if (type === "response.created") this.outbox.confirmed(ANSWER, "");
    else if (type === "input_audio_buffer.speech_started") this.outbox.speech = event.audio_start_ms;
    else if (type === "conversation.item.input_audio_transcription.completed") this.outbox.speech = null;
    else if (type === "response.done" && event.response.status === "completed") this.outbox.speech = null;
    else if (type === "aura.playout.resume") {
      event.again = this.rejoined;
      this.rejoined = false;
    } else if (TEXTS.includes(type)) {
      event.anew = this.again.delete(event.item_id);
      this.texts.add(event.item_id);
    } else if (type === "response.output_audio.delta") {
      this.item = event.item_id;
      if (event.delta) this.hear(event.item_id, fromBase64(event.delta));
    }
    this.tell("event", event);
  }

  /** The server has said which session this is. */
  greeted({ id }) {
    const before = this.id;
    this.id = id;
    if (id === before) return; // `aura.resumed` says where to go on
    this.socket.send(JSON.stringify({ type: "session.update", session: this.session }));
    for (const { role, text } of this.history) this.socket.send(JSON.stringify({ type: ITEM, item: itemOf(role, text) }));
    const lost = this.outbox.anew();
    this.texts.clear();
    this.begin(before ? { same: false, lost, items: [] } : null);
  }

  resume({ input_bytes, items }) {
    const lost = this.outbox.taken(input_bytes, (id) => items.some((item) => item.id === id));
    this.again = new Set(this.texts);
    this.rejoined = true;
    this.begin({ same: true, lost, items });
  }

  begin(resumed) {
    this.ready = true;
    this.pump();
    this.tell("status", { now: "on", again: this.tries > 0 });
    if (resumed) {
      const { same, lost, items } = resumed;
      this.tell("resumed", { same, items, gap_s: (performance.now() - this.lostAt) / 1000, lost_s: lost / 2 / RATE });
    }
    this.lostAt = 0;
    this.tell("begun");
  }

  /** Send what waits, no faster than the network takes it. */
  pump() {
    clearTimeout(this.pumping);
    let piece = null;
    while (this.connected && (piece = this.outbox.next())) {
      if (this.socket.bufferedAmount > BACKLOG_BYTES) {
        this.stuckAt ||= performance.now();
        if (performance.now() - this.stuckAt > STUCK_MS) return this.drop();
        this.pumping = setTimeout(() => this.pump(), FRAME_MS);
        return;
      }
      this.stuckAt = 0;
      this.socket.send(piece.text ?? piece.pcm);
      this.outbox.done(piece);
    }
  }

  /** A network that changed takes nothing any more, and says nothing either. */
  drop() {
    const { socket } = this;
    this.socket = null;
    socket?.close(LOST, "lost"); // not a hang-up, should it arrive after all
    this.lost(1006, "", true);
  }

  lost(code, reason, had) {
    const ended = ENDED.includes(code);
    Object.assign(this, { attempt: null, socket: null, ready: false, stuckAt: 0 });
    this.lostAt ||= performance.now();
    this.fresh = code === UNAUTHORISED;
    if (ended && code !== UNAUTHORISED) this.id = ""; // with another secret it may still go on
    if (!this.wanted) return this.tell("status", { now: "off" });
    const base = BACK_OFF_S[Math.min(this.tries++, BACK_OFF_S.length - 1)];
    const wait = base * (0.75 + Math.random() / 2); // not all clients of a restarted server at once
    const gone_s = (performance.now() - this.lostAt) / 1000;
    this.timer = setTimeout(() => this.dial(), wait * 1000);
    this.tell("status", { now: "waiting", code, reason, had, wait, gone_s, resumable: Boolean(this.id) });
  }
}

/**
 * Everything that is given to be sent, in its order, kept as far as it may have to be sent again. Positions count the
 * bytes of audio that were given before. The server tells how many it has taken; since a connection keeps its order,
 * all that was given behind the first piece that it lacks did not arrive either.
 */
class Outbox {
  constructor() {
    this.given = this.sent = 0; // positions
    this.base = 0; // the position at which the server's count is zero
    this.audio = []; // {at, pcm}: the latest, up to `given`
    this.unsent = []; // {at, type, item, text}
    this.past = [];
    this.speech = null; // the server's milliseconds where an utterance began that it has not understood yet
  }

  append(pcm) {
    this.audio.push({ at: this.given, pcm });
    this.given += pcm.byteLength;
    while (this.given - this.audio[0].at > KEPT_BYTES) this.audio.shift();
  }

  letter(letter) {
    if (this.unsent.length >= KEPT_MESSAGES) return false;
    this.unsent.push({ at: this.given, ...letter });
    return true;
  }

  next() {
    this.skip();
    const letter = this.unsent[0];
    if (letter && letter.at <= this.sent) return letter;
    const { at, pcm } = this.audio.find((piece) => piece.at + piece.pcm.byteLength > this.sent) ?? {};
    return pcm ? { pcm: pcm.slice(this.sent - at) } : null;
  }

  done({ text, pcm }) {
    if (pcm) this.sent += pcm.byteLength;
    if (text) this.past = [...this.past, this.unsent.shift()].slice(-KEPT_MESSAGES);
  }

  confirmed(type, item) {
    const found = this.past.findIndex((letter) => letter.type === type && letter.item === item);
    if (found >= 0) this.past.splice(found, 1);
  }

  /** The same session goes on and has taken `count` bytes; `known`: whether it has an item. Returns the bytes lost. */
  taken(count, known) {
    this.base = Math.min(this.base, this.given - count);
    this.sent = this.base + count;
    const lacks = ({ at, type, item }) => at > this.sent || (at === this.sent && type === ITEM && !known(item));
    const first = this.past.findIndex(lacks);
    if (first >= 0) this.unsent.unshift(...this.past.slice(first));
    this.past = [];
    return this.skip();
  }

  /** A new session begins: it has been told settings and history, and hears an unanswered utterance from its start. */
  anew() {
    if (this.speech !== null) this.sent = Math.min(this.sent, this.base + Math.round((this.speech * RATE) / 1000) * 2);
    const again = this.past.filter(({ type }) => type === ANSWER);
    const usable = ({ type }) => !/^conversation\.item\.(truncate|retrieve|delete|create)$|^response\.cancel$/.test(type);
    this.unsent = [...again, ...this.unsent.filter(usable)];
    this.past = [];
    this.base = this.sent;
    this.speech = null;
    return this.skip();
  }

  /** Go on with the oldest audio that is kept. */
  skip() {
    const lost = Math.max(0, (this.audio[0]?.at ?? this.given) - this.sent);
    this.sent += lost;
    this.base += lost;
    return lost;
  }
}

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (x) => x.toString(16).padStart(2, "0")).join("");

function itemOf(role, text) {
  const type = role === "assistant" ? "output_text" : "input_text";
  return { type: "message", role, content: [{ type, text }] };
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
