/** The page: joins the client, the sound and what is seen. `window.aura` shows what happened, for tests and the curious. */

import { AuraClient, RATE } from "./aura.js";
import { Fsm } from "./fsm.js";
import { Notice, micNotice, why } from "./notice.js";
import { NoKey, Secrets } from "./secrets.js";
import { MicError, Sound } from "./sound.js";
import { Times, details } from "./times.js";
import { Transcript } from "./transcript.js";
import { Wave, loudness } from "./wave.js";

const ACK_MS = 200;
const PATIENCE_S = 2; // a connection that is lost for longer is explained
const BACK_MS = 3000;
const $ = (id) => document.getElementById(id);
const WORDS = {
  idle: ["Ready", "Say something"],
  listening: ["Listening", "Take your time"],
  thinking: ["Thinking", "One moment"],
  speaking: ["Speaking", "Talk over it any time"],
  interrupted: ["Go on", "Did you mean to interrupt?"],
};

const endpoint = new URL("/v1/realtime", location.href);
endpoint.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const sound = new Sound();
const secrets = new Secrets();
const client = new AuraClient(endpoint, {}, { secret, played: () => sound.playing() });
const fsm = new Fsm($("fsm"));
const wave = new Wave($("wave"));
const times = new Times($("times"));
const transcript = new Transcript($("transcript"), $("scroll"));
const notice = new Notice(() => client.retry());
const stats = { states: ["idle"], framesSent: 0, audioBytes: 0, loudSamples: 0, playedSamples: 0, events: {}, acks: 0, connects: 0 };
const page = { state: "idle", mic: "off", link: "off", response: "", muted: "", acked: 0, retryAt: 0, resuming: false, had: false, back: 0 };

// ---- what is seen

const answering = () => ["thinking", "speaking", "interrupted"].includes(page.state);

/** What is going on, and what the user can do. */
function status() {
  const talking = page.mic === "on";
  if (page.mic === "opening") return ["One moment", "Allow the microphone"];
  if (page.link !== "on" && page.resuming) return ["Reconnecting…", talking ? "Go on: what you say is kept" : "One moment"];
  if (page.link === "waiting") return ["Not connected", "Reconnecting"];
  if (talking && page.link === "connecting") return ["One moment", "Connecting"];
  if (page.state === "idle" && !talking) return ["Ready", "Press the microphone to talk"];
  return WORDS[page.state];
}

function show() {
  [$("state").textContent, $("hint").textContent] = status();
  $("mic").setAttribute("aria-pressed", String(page.mic === "on"));
  $("mic").classList.toggle("opening", page.mic === "opening");
  $("mic-label").textContent = page.mic === "on" ? "Turn the microphone off" : "Turn the microphone on";
  $("stop").hidden = !answering();
  document.body.dataset.state = page.state;
  $("empty").hidden = $("transcript").childElementCount > 0;
}

function level(rms) {
  const part = loudness(rms);
  $("mic").style.setProperty("--level", part.toFixed(2));
  wave.hear("mic", rms);
  const now = performance.now();
  if (now - (level.at ?? 0) < 500) return;
  level.at = now;
  $("meter").setAttribute("aria-valuenow", Math.round(part * 100));
}

// ---- the server's events

const HANDLERS = {
  "aura.state"({ was, now }) {
    stats.states.push(now);
    page.state = now;
    fsm.move(was, now);
    if (now === "idle") transcript.settle();
  },
  "input_audio_buffer.speech_started": ({ item_id }) => transcript.user(item_id, ""),
  "conversation.item.input_audio_transcription.completed"({ item_id, transcript: text }) {
    transcript.user(item_id, text);
    client.remember("user", text);
  },
  "response.created"({ response }) {
    page.response = response.id;
    transcript.begin(response.id);
  },
  "response.output_item.added"({ response_id, item }) {
    if (item.type === "message") transcript.name(response_id, item.id);
  },
  "response.output_audio_transcript.delta": (event) => words(event),
  "response.output_text.delta"(event) {
    const { item_id } = event;
    words(event);
    transcript.of(item_id)?.progress(0);
  },
  "conversation.item.done"({ item }) {
    const answer = transcript.of(item.id);
    if (answer && item.status === "incomplete") answer.known = item.content[0]?.transcript;
  },
  "response.done"({ response }) {
    const answer = transcript.of(response.id);
    if (!answer) return;
    if (response.status === "completed" || response.status === "incomplete") {
      answer.finish();
      client.remember("assistant", answer.spoken.text);
    }
    if (response.status === "failed") notice.show({ title: "The answer failed.", text: "Please say it again." });
    transcript.end(response.id);
  },
  "aura.playout.hold": () => sound.hold(true),
  "aura.playout.resume"({ item_id, from_ms, again }) {
    if (!again) return sound.hold(false);
    const answer = transcript.of(item_id);
    if (answer) answer.spoken.received = from_ms;
    sound.refill(item_id, from_ms);
  },
  "aura.playout.flush": ({ item_id, heard_ms }) => cut(item_id, heard_ms),
  "conversation.item.truncated": ({ item_id, audio_end_ms }) => cut(item_id, audio_end_ms),
  "aura.turn.metrics"({ metrics }) {
    times.show(metrics);
    transcript.of(page.response)?.element.append(details(metrics));
  },
  error({ error }) {
    if (error.code === "invalid_api_key") return; // the key form says so
    if (error.code !== "response_cancel_not_active") notice.show({ title: "The server could not do that.", text: error.message });
  },
};

function words({ item_id, delta, anew }) {
  const spoken = transcript.of(item_id)?.spoken;
  if (anew) spoken?.again(delta);
  else spoken?.add(delta);
}

function cut(item, ms) {
  sound.flush(item);
  const answer = transcript.of(item);
  if (answer && !answer.ended) client.remember("assistant", answer.cut(ms));
}

client.addEventListener("event", ({ detail }) => {
  stats.events[detail.type] = (stats.events[detail.type] ?? 0) + 1;
  HANDLERS[detail.type]?.(detail);
  show();
});

client.addEventListener("audio", ({ detail: { item, pcm } }) => {
  stats.audioBytes += pcm.byteLength;
  if (item === page.muted) return;
  transcript.of(item)?.spoken.grow((1000 * pcm.byteLength) / 2 / RATE);
  sound.play(item, pcm);
});

client.addEventListener("status", async ({ detail }) => {
  page.link = detail.now;
  page.retryAt = performance.now() + 1000 * (detail.wait ?? 0);
  if (detail.now === "waiting") page.resuming = detail.resumable;
  connection(detail);
  show();
  if (detail.now === "on") {
    stats.connects++;
    page.had = true;
    notice.hide("connection");
  } else if (detail.now === "off") {
    page.had = page.resuming = false;
    secrets.close();
  } else if (detail.now === "waiting") {
    if (detail.had && !detail.resumable) forget();
    if (detail.resumable && detail.gone_s < PATIENCE_S) return;
    const quiet = page.had && page.mic === "off" && page.state === "idle" && !client.pending;
    if (quiet) return leave(); // connect again when it is needed
    const message = await why(detail);
    if (page.link === "waiting") notice.countDown(message, page.retryAt);
  }
});

/** The words in the corner. */
function connection({ now, resumable, again }) {
  const texts = { off: "Not connected", connecting: "Connecting…", on: "Connected", waiting: "Connection lost" };
  const resuming = (now === "waiting" && resumable) || (now === "connecting" && again);
  $("connection").textContent = resuming ? "Reconnecting…" : texts[now];
  $("connection").dataset.kind = now;
}

/** After a lost connection: the same conversation with what was missed of it, or a new one. */
client.addEventListener("resumed", ({ detail: { same, items, lost_s } }) => {
  page.resuming = false;
  if (same) reconcile(items);
  else forget();
  $("connection").textContent = "Back";
  clearTimeout(page.back);
  page.back = setTimeout(() => page.link === "on" && connection({ now: "on" }), BACK_MS);
  if (lost_s > 0.1) notice.show({ title: "The connection was away for long.", text: `${lost_s.toFixed(0)} s of what you said are lost.` });
  show();
});

function reconcile(items) {
  for (const item of items) {
    const text = item.content?.[0]?.transcript ?? item.content?.[0]?.text ?? "";
    if (item.role === "user" && text && !transcript.knows(item.id, text)) {
      transcript.user(item.id, text);
      client.remember("user", text);
    }
    const answer = transcript.of(item.id);
    if (!answer || answer.ended || item.status === "in_progress") continue;
    if (item.status === "incomplete") {
      answer.known = text;
      cut(item.id, 0);
    } else {
      answer.spoken.again(text);
      answer.finish();
      client.remember("assistant", text);
    }
  }
  const busy = items.some(({ role, status }) => role === "assistant" && status === "in_progress");
  if (!busy && answering()) HANDLERS["aura.state"]({ was: page.state, now: "idle" });
}

/** A client secret for the connection. */
async function secret(how) {
  try {
    return await secrets.get(how);
  } catch (error) {
    if (error instanceof NoKey) {
      leave();
    }
    throw error;
  }
}

/** No connection until it is needed again. */
function leave() {
  if (page.mic === "on") micOff();
  client.close();
}

/** The connection is gone, and with it the turn and the answer under way. */
function forget() {
  for (const [id, answer] of transcript.answers) {
    if (!answer.ended && answer.spoken.text) cutHere(answer);
    transcript.end(id);
  }
  sound.flush();
  transcript.settle();
  transcript.divide("The connection was lost here");
  if (page.state !== "idle") HANDLERS["aura.state"]({ was: page.state, now: "idle" });
  show();
}

function cutHere(answer) {
  const { item, ms } = sound.playing();
  if (transcript.of(item) === answer) client.remember("assistant", answer.cut(ms));
  else answer.finish();
}

// ---- the sound

sound.addEventListener("position", ({ detail: { item, ms, sounding, level: loud } }) => {
  stats.playedSamples = sound.position.played;
  stats.loudSamples = sound.position.loud;
  transcript.of(item)?.progress(ms);
  wave.hear("reply", loud);
  const now = performance.now();
  if (!sounding || ms === 0 || now - page.acked < ACK_MS) return;
  page.acked = now;
  stats.acks++;
  client.acknowledge(item, ms);
});

sound.addEventListener("unplugged", () => {
  page.mic = "off";
  notice.show(micNotice("unplugged"));
  show();
});

async function micOn() {
  page.mic = "opening";
  notice.hide();
  show();
  try {
    await sound.openMic((pcm, rms) => {
      if (client.append(pcm)) stats.framesSent++;
      level(rms);
    });
    page.mic = "on";
    client.open();
  } catch (error) {
    page.mic = "off";
    if (!(error instanceof MicError)) throw error;
    notice.show(micNotice(error.kind));
  } finally {
    show();
  }
}

function micOff() {
  sound.closeMic();
  page.mic = "off";
  level(0);
  if (!client.connected && !page.resuming) client.close();
  show();
}

// ---- the user's hands

/** Stop the answer at once, without waiting for the server. */
function stopAnswer() {
  client.cancel();
  page.muted = client.item;
  sound.flush();
}

$("mic").addEventListener("click", () => {
  if (page.mic === "on") micOff();
  else if (page.mic === "off") micOn();
});
$("stop").addEventListener("click", () => {
  stopAnswer();
  $("mic").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  if (answering()) stopAnswer();
  else if (page.mic === "on") micOff();
});
$("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  sound.start();
  if (answering()) stopAnswer();
  transcript.user(`typed ${performance.now()}`, text);
  show();
  client.open();
  client.say(text);
});
addEventListener("online", () => client.retry());
addEventListener("pagehide", () => client.close("the page was closed"));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && page.mic === "on") sound.start();
});

window.aura = { client, sound, stats, page };
if (!globalThis.isSecureContext) notice.show(micNotice("insecure"));
show();
