/** Plays a recording from anywhere: pieces of it, one behind the other without a gap, each side as loud as wanted. */

import { api } from "./api.js";

const RATE = 24_000;
const FIRST_S = 4; // a short piece is there soon
const PIECE_S = 16;
const AHEAD_S = 6;
const START_S = 0.06;
const PAN = 0.35; // the user a little to the left, the assistant to the right

/** One audio context for the page: browsers allow only a few. */
let shared = null;

export class Player extends EventTarget {
  constructor(id, seconds) {
    super();
    Object.assign(this, { id, seconds, at: 0, playing: false, run: null, waiting: false });
    this.loud = { user: 1, assistant: 1 };
  }

  /** Where it is, in seconds. */
  get position() {
    const { run } = this;
    if (!this.playing || !run || run.began === null) return this.at;
    return Math.min(this.seconds, run.from + Math.max(0, shared.currentTime - run.began));
  }

  /** Go to a moment, and play from there if it plays already, or if `play`. */
  seek(at, play = this.playing) {
    this.halt();
    this.at = Math.max(0, Math.min(this.seconds, at));
    if (play) this.play();
    else this.tell();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  pause() {
    this.at = this.position;
    this.halt();
    this.tell();
  }

  async play() {
    if (this.at >= this.seconds - 0.05) this.at = 0;
    this.halt();
    shared ??= new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    const run = { from: this.at, began: null, end: null, stop: new AbortController(), sources: new Set(), ...this.desk() };
    Object.assign(this, { run, playing: true, waiting: true });
    this.tell();
    try {
      await shared.resume();
      await this.feed(run);
    } catch (error) {
      if (error.name === "AbortError" || this.run !== run) return;
      this.pause();
      this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
  }

  /** Each side with its own loudness and place. */
  desk() {
    const split = shared.createChannelSplitter(2);
    const gains = ["user", "assistant"].map((side, index) => {
      const gain = new GainNode(shared, { gain: this.loud[side] });
      split.connect(gain, index);
      gain.connect(new StereoPannerNode(shared, { pan: index ? PAN : -PAN })).connect(shared.destination);
      return gain;
    });
    return { split, gains: { user: gains[0], assistant: gains[1] } };
  }

  async feed(run) {
    let from = run.from;
    let length = FIRST_S;
    while (this.run === run && from < this.seconds) {
      const to = Math.min(this.seconds, from + length);
      const wav = await api.audio(this.id, from, to, run.stop.signal);
      const sound = await shared.decodeAudioData(wav);
      if (this.run !== run) return;
      this.schedule(run, sound);
      [from, length] = [to, PIECE_S];
      while (this.run === run && run.end - shared.currentTime > AHEAD_S) await new Promise((done) => setTimeout(done, 250));
    }
  }

  schedule(run, sound) {
    const soonest = shared.currentTime + START_S;
    if (run.began === null) {
      run.began = run.end = soonest;
      this.waiting = false;
      this.tell();
    } else if (run.end < soonest) {
      run.began += soonest - run.end; // it came too late: the silence does not count
      run.end = soonest;
    }
    const source = new AudioBufferSourceNode(shared, { buffer: sound });
    source.connect(run.split);
    source.start(run.end);
    run.end += sound.duration;
    run.sources.add(source);
    source.onended = () => {
      run.sources.delete(source);
      if (this.run === run && !run.sources.size && run.from + run.end - run.began >= this.seconds - 0.05) this.finish();
    };
  }

  finish() {
    this.halt();
    this.at = this.seconds;
    this.tell();
  }

  halt() {
    const { run } = this;
    Object.assign(this, { run: null, playing: false, waiting: false });
    if (!run) return;
    run.stop.abort();
    for (const source of run.sources) {
      source.onended = null;
      source.stop();
    }
    run.split.disconnect();
  }

  /** 0: silent. */
  setLoud(side, loud) {
    this.loud[side] = loud;
    if (this.run) this.run.gains[side].gain.setTargetAtTime(loud, shared.currentTime, 0.02);
    this.tell();
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  close() {
    this.halt();
  }
}
