/** The page's sound: one AudioContext, the microphone and the player on it. */

import { FRAME_MS, RATE } from "./aura.js";

const PLAYER = { rate: RATE, delayMs: 60, fadeMs: 15, reportMs: 50 };
const MIC = { rate: RATE, frameMs: FRAME_MS };
const CAPTURE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
const EARLY_MAX = 1000; // 40 s of audio
const LATENCY_MAX_S = 0.5; // some systems report nonsense

const WORKLET = new URL("worklet.js", import.meta.url);

function newContext(options) {
  try {
    return new AudioContext(options);
  } catch {
    return new AudioContext(); // the worklets change the rate
  }
}

function worklet(context, name, processorOptions, options) {
  return new AudioWorkletNode(context, name, { processorOptions, ...options });
}

/** Why there is no microphone: `kind` is one of insecure, denied, missing, busy, failed. */
export class MicError extends Error {
  constructor(kind, cause) {
    super(kind, { cause });
    this.kind = kind;
  }
}

const KINDS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class Sound extends EventTarget {
  constructor() {
    super();
    this.context = null;
    this.player = null;
    this.early = []; // orders to a player that is still being loaded
    this.stream = null;
    this.mic = null;
    this.position = { item: "", played: 0, buffered: 0, loud: 0, level: 0, held: false };
  }

  /** To be called from a click or a key: browsers make no sound before. */
  async start() {
    this.starting ??= this.build();
    await this.starting;
    await this.context.resume();
  }

  async build() {
    this.context = newContext({ sampleRate: RATE, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(WORKLET);
    this.player = worklet(this.context, "aura-player", PLAYER, { numberOfInputs: 0, outputChannelCount: [1] });
    this.player.connect(this.context.destination);
    this.player.port.onmessage = ({ data }) => {
      this.position = data;
      this.dispatchEvent(new CustomEvent("position", { detail: this.playing() }));
    };
    for (const [message, transfer] of this.early.splice(0)) this.player.port.postMessage(message, transfer);
  }

  // ---- the player

  order(message, transfer = []) {
    if (this.player) this.player.port.postMessage(message, transfer);
    else if (this.early.length < EARLY_MAX) this.early.push([message, transfer]);
  }

  play(item, pcm) {
    this.order({ play: pcm, item }, [pcm]);
  }

  hold(held) {
    this.order({ hold: held });
  }

  /** Drop what was not played of an item; without one, everything. */
  flush(item = "") {
    this.order({ flush: item });
  }

  /** The item's audio comes again from `ms` on: play what is not here yet. */
  refill(item, ms) {
    this.order({ refill: item, from: ms });
  }

  /** What is being heard: `ms` of `item` have left the loudspeaker. */
  playing() {
    const { item, played, buffered, level, held } = this.position;
    const rate = this.context?.sampleRate ?? RATE;
    const late = buffered ? Math.min(LATENCY_MAX_S, this.context?.outputLatency || 0) : 0;
    return { item, ms: Math.max(0, (played / rate - late) * 1000), sounding: played > 0 && buffered > 0 && !held, level };
  }

  // ---- the microphone

  get listening() {
    return this.mic !== null;
  }

  /** Raises MicError. */
  async openMic(take) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new MicError("insecure");
    const started = this.start();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: CAPTURE });
    } catch (error) {
      throw new MicError(KINDS[error.name] ?? "failed", error);
    }
    await started;
    this.stream = stream;
    const source = await this.source(stream);
    this.mic = worklet(source.context, "aura-mic", MIC, { numberOfOutputs: 0 });
    source.connect(this.mic);
    this.mic.port.onmessage = ({ data }) => take(data.pcm, data.level);
    stream.getAudioTracks()[0].onended = () => {
      this.closeMic();
      this.dispatchEvent(new CustomEvent("unplugged"));
    };
  }

  /** The stream as a node. Firefox cannot put it into a context of another rate: then it gets one of its own. */
  async source(stream) {
    try {
      return this.context.createMediaStreamSource(stream);
    } catch {
      this.micContext ??= newContext({ latencyHint: "interactive" });
      await this.micContext.audioWorklet.addModule(WORKLET);
      return this.micContext.createMediaStreamSource(stream);
    }
  }

  closeMic() {
    this.mic?.port.postMessage("close");
    this.mic = null;
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.stream = null;
  }
}
