/**
 * A client for AURA's endpoint, for any page: the Realtime protocol over one WebSocket, audio in binary frames.
 *
 *     const aura = new AuraClient("wss://host/v1/realtime");
 *     aura.addEventListener("event", ({ detail }) => ...);   // every event of the server, as an object
 *     aura.addEventListener("audio", ({ detail }) => ...);   // {item, pcm}: reply audio, PCM16 at 24 kHz
 *     aura.addEventListener("status", ({ detail }) => ...);  // {now: "off"|"connecting"|"on"|"waiting", ...}
 *     await aura.open(); aura.append(pcm); aura.say("Hello"); aura.close();
 *
 * A lost connection is made anew by itself, and what was said before is told to the new session.
 */

export const RATE = 24000;
export const FRAME_MS = 20;

const BACK_OFF_S = [0.5, 1, 2, 4, 8, 15];
const OPEN_TIMEOUT_MS = 10000;
const STABLE_MS = 5000; // a connection that lived so long makes the next back-off start from the beginning
const BACKLOG_BYTES = RATE * 2; // more than a second of audio that the network has not taken: late frames are of no use
const KEPT_TURNS = 40;

const FORMAT = { type: "audio/pcm", rate: RATE };
const SESSION = {
  type: "realtime",
  audio: { input: { format: FORMAT, transcription: { model: "aura" } }, output: { format: FORMAT } },
};

export class AuraClient extends EventTarget {
  /** `url`: the endpoint; `session`: further fields for `session.update` (instructions, tools, voice, ...). */
  constructor(url, session = {}) {
    super();
    this.url = new URL(url);
    this.url.searchParams.set("model", this.url.searchParams.get("model") ?? "aura");
    this.url.searchParams.set("aura", "binary,events");
    this.session = { ...SESSION, ...session };
    this.socket = null;
    this.history = []; // {role, text} for a new session after a lost one
    this.dropped = 0;
    this.wanted = false;
    this.tries = 0;
    this.item = "";
    this.timer = 0;
  }

  get connected() {
    return this.socket?.readyState === WebSocket.OPEN && this.greeted;
  }

  /** Connect, unless connected. Resolves once the session has begun, also after further tries. */
  open() {
    this.wanted = true;
    if (this.connected) return Promise.resolve();
    if (!this.socket) this.dial();
    return new Promise((resolve) => this.addEventListener("begun", resolve, { once: true }));
  }

  /** End the conversation. */
  close(reason = "") {
    this.wanted = false;
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000, reason);
    this.tell("status", { now: "off" });
  }

  /** Try at once instead of waiting for the back-off. */
  retry() {
    if (this.wanted && !this.socket) this.dial();
  }

  /** Send an event; false when there is no connection. */
  send(event) {
    if (!this.connected) return false;
    this.socket.send(JSON.stringify(event));
    return true;
  }

  /** A frame of the microphone: PCM16, little-endian, 24 kHz. */
  append(pcm) {
    if (!this.connected) return false;
    const late = this.socket.bufferedAmount > BACKLOG_BYTES;
    if (late) this.dropped++;
    else this.socket.send(pcm);
    return !late;
  }

  /** A typed message, to be answered. */
  say(text) {
    this.send({ type: "conversation.item.create", item: userItem(text) });
    this.send({ type: "response.create" });
  }

  /** Stop the answer. */
  cancel() {
    this.send({ type: "response.cancel" });
  }

  /** Tell the server how much of an item has been heard. */
  acknowledge(item, ms) {
    this.send({ type: "aura.playout.ack", item_id: item, played_ms: Math.max(0, Math.round(ms)) });
  }

  /** Something said, for the case that the connection is lost. */
  remember(role, text) {
    if (text.trim()) this.history.push({ role, text });
    this.history.splice(0, this.history.length - KEPT_TURNS);
  }

  // ---- within

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  dial() {
    clearTimeout(this.timer);
    this.greeted = false;
    this.item = "";
    this.tell("status", { now: "connecting", tries: this.tries });
    const socket = (this.socket = new WebSocket(this.url));
    socket.binaryType = "arraybuffer";
    const late = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS);
    let since = 0;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (data instanceof ArrayBuffer) return this.tell("audio", { item: this.item, pcm: data });
      const event = JSON.parse(data);
      if (event.type === "session.created") {
        clearTimeout(late);
        since = performance.now();
        this.begin();
      }
      this.take(event);
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(late);
      if (socket !== this.socket) return;
      this.socket = null;
      if (since && performance.now() - since > STABLE_MS) this.tries = 0;
      this.lost(code, reason, since > 0);
    };
  }

  begin() {
    this.greeted = true;
    this.send({ type: "session.update", session: this.session });
    for (const { role, text } of this.history) this.send({ type: "conversation.item.create", item: itemOf(role, text) });
    this.tell("status", { now: "on", again: this.tries > 0 });
    this.tell("begun");
  }

  take(event) {
    if (event.type === "response.output_audio.delta") {
      this.item = event.item_id;
      if (event.delta) this.tell("audio", { item: event.item_id, pcm: fromBase64(event.delta) });
    }
    this.tell("event", event);
  }

  lost(code, reason, had) {
    if (!this.wanted) return this.tell("status", { now: "off" });
    const base = BACK_OFF_S[Math.min(this.tries++, BACK_OFF_S.length - 1)];
    const wait = base * (0.75 + Math.random() / 2); // not all clients of a restarted server at once
    this.tell("status", { now: "waiting", code, reason, had, wait });
    if (this.wanted) this.timer = setTimeout(() => this.dial(), wait * 1000);
  }
}

const userItem = (text) => itemOf("user", text);

function itemOf(role, text) {
  const type = role === "user" ? "input_text" : "output_text";
  return { type: "message", role, content: [{ type, text }] };
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
