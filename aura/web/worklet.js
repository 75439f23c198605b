/**
 * Audio threads of the page: `aura-mic` cuts the microphone into PCM16 frames, `aura-player` plays the replies.
 * One file without imports, since not every browser lets a worklet import modules.
 */

const ZERO_CROSSINGS = 16; // on each side of the filter: more than 80 dB against aliases
const STEPS = 512; // entries of the filter's table for each zero crossing

/** Changes the sample rate of a stream of Float32Arrays with a windowed sinc. */
export class Resampler {
  constructor(from, to) {
    this.step = from / to; // input samples for each output sample
    this.scale = Math.min(1, to / from) * 0.94; // cut-off, a little under half of the lower rate
    this.reach = Math.ceil(ZERO_CROSSINGS / this.scale);
    this.table = Resampler.filter();
    this.reset();
  }

  static filter() {
    const table = new Float32Array(ZERO_CROSSINGS * STEPS + 2);
    for (let i = 0; i < table.length; i++) {
      const x = i / STEPS;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      const turn = (Math.PI * Math.min(1, x / ZERO_CROSSINGS));
      table[i] = sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn)); // Blackman
    }
    return table;
  }

  /** Forget the past: the next samples belong to another stream. */
  reset() {
    this.input = new Float32Array(this.reach);
    this.at = this.reach; // place of the next output sample in `input`
  }

  /** The samples that can be made now; the last `reach` input samples wait for those that follow. */
  push(samples) {
    if (this.step === 1) return samples;
    const input = new Float32Array(this.input.length + samples.length);
    input.set(this.input);
    input.set(samples, this.input.length);
    const out = new Float32Array(Math.max(0, Math.ceil((input.length - this.reach - this.at) / this.step)));
    let n = 0;
    for (; n < out.length && this.at + this.reach < input.length; n++, this.at += this.step) out[n] = this.sample(input);
    const done = Math.floor(this.at) - this.reach;
    this.input = input.slice(done);
    this.at -= done;
    return n === out.length ? out : out.slice(0, n);
  }

  /** The rest of the stream. */
  finish() {
    const rest = this.push(new Float32Array(this.step === 1 ? 0 : this.reach));
    this.reset();
    return rest;
  }

  sample(input) {
    const first = Math.ceil(this.at - this.reach + 1e-9);
    let sum = 0;
    for (let i = Math.max(0, first); i <= this.at + this.reach && i < input.length; i++) {
      const x = Math.abs(i - this.at) * this.scale * STEPS;
      const k = Math.floor(x);
      if (k < ZERO_CROSSINGS * STEPS) sum += input[i] * (this.table[k] + (x - k) * (this.table[k + 1] - this.table[k]));
    }
    return sum * this.scale;
  }
}

const rms = (samples) => Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / Math.max(1, samples.length));
const Base = globalThis.AudioWorkletProcessor ?? Object;

/** Microphone → messages `{pcm: ArrayBuffer of PCM16, level}`, one for each frame. */
class Mic extends Base {
  constructor({ processorOptions: { rate, frameMs } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.frame = new Float32Array((rate * frameMs) / 1000);
    this.filled = 0;
    this.closed = false;
    this.port.onmessage = () => (this.closed = true);
  }

  process([channels]) {
    if (this.closed) return false;
    if (!channels.length) return true;
    const mono = channels.length === 1 ? channels[0] : channels[0].map((x, i) => (x + channels[1][i]) / 2);
    let samples = this.resampler.push(mono);
    while (samples.length) {
      const taken = samples.subarray(0, this.frame.length - this.filled);
      this.frame.set(taken, this.filled);
      this.filled += taken.length;
      samples = samples.subarray(taken.length);
      if (this.filled === this.frame.length) this.send();
    }
    return true;
  }

  send() {
    const pcm = Int16Array.from(this.frame, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
    this.filled = 0;
    this.port.postMessage({ pcm: pcm.buffer, level: rms(this.frame) }, [pcm.buffer]);
  }
}

/**
 * Plays what it is sent: `{play: ArrayBuffer of PCM16, item}`. `{hold: true|false}` silences and goes on,
 * `{flush: item}` drops that item's rest ("": everything), `{refill: item, from: ms}` says that the item's audio comes
 * again from there: what was played or waits here is left out of it. Reports `{item, played, buffered, loud, level}`, counted in
 * samples of the context.
 */
class Player extends Base {
  constructor({ processorOptions: { rate, delayMs, fadeMs, reportMs } }) {
    super();
    this.rate = rate;
    this.delay = Math.round((sampleRate * delayMs) / 1000);
    this.fade = 1000 / (sampleRate * fadeMs);
    this.every = (sampleRate * reportMs) / 1000;
    this.queue = []; // {item, samples, at}
    this.incoming = { item: "", resampler: null };
    this.again = { item: "", left: 0 }; // samples that come once more
    this.now = { item: "", played: 0, loud: 0, level: 0, since: 0, idle: false };
    this.gain = 0;
    this.wait = -1; // samples until playing starts; -1: it has started, or there is nothing to start
    this.held = this.dropping = false;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(order) {
    if (order.play) this.enqueue(order.item, order.play);
    if (order.hold !== undefined) this.held = order.hold;
    if (order.flush !== undefined) this.flush(order.flush);
    if (order.refill !== undefined) this.refill(order.refill, Math.round((order.from * sampleRate) / 1000));
  }

  enqueue(item, pcm) {
    if (item !== this.incoming.item) this.incoming = { item, resampler: new Resampler(this.rate, sampleRate) };
    const made = this.incoming.resampler.push(Float32Array.from(new Int16Array(pcm), (x) => x / 32768));
    const samples = made.subarray(item === this.again.item ? Math.min(this.again.left, made.length) : 0);
    if (item === this.again.item) this.again.left -= made.length - samples.length;
    if (!this.queue.length) this.wait = this.delay; // an empty buffer fills anew
    if (samples.length) this.queue.push({ item, samples, at: 0 });
  }

  refill(item, from) {
    const waiting = this.queue.reduce((sum, piece) => sum + (piece.item === item ? piece.samples.length - piece.at : 0), 0);
    const known = (this.now.item === item ? this.now.played : 0) + waiting;
    this.again = { item, left: Math.max(0, known - from) };
    if (from > known) Object.assign(this.now, { item, played: from - waiting });
    this.incoming = { item: "", resampler: null };
    this.held = false;
  }

  /** Drop an item, but for what the fade-out needs: a cut would click. */
  flush(item) {
    const mine = (piece) => !item || piece.item === item;
    let keep = this.queue.length && mine(this.queue[0]) ? Math.ceil(this.gain / this.fade) : 0;
    this.dropping = keep > 0;
    this.queue = this.queue.filter((piece) => {
      if (!mine(piece)) return true;
      piece.samples = piece.samples.subarray(0, piece.at + keep);
      keep -= piece.samples.length - piece.at;
      return piece.samples.length > piece.at;
    });
    this.held = false;
    if (mine(this.incoming)) this.incoming = { item: "", resampler: null };
  }

  process(_, [[out]]) {
    for (let i = 0; i < out.length && this.queue.length; i++) {
      if (this.wait > 0) this.wait--;
      else if (this.held && this.gain === 0) break;
      else out[i] = this.faded() * this.next();
    }
    if (!this.queue.length) {
      this.gain = 0;
      this.dropping = false;
    }
    this.report(out);
    return true;
  }

  faded() {
    const step = this.held || this.dropping ? -this.fade : this.fade;
    this.gain = Math.max(0, Math.min(1, this.gain + step));
    return this.gain;
  }

  next() {
    const piece = this.queue[0];
    const now = this.now;
    if (piece.item !== now.item) Object.assign(now, { item: piece.item, played: 0 });
    const value = piece.samples[piece.at++];
    if (piece.at === piece.samples.length) this.queue.shift();
    if (this.dropping && this.queue[0]?.item !== piece.item) this.dropping = false; // what follows is another item
    now.played++;
    if (Math.abs(value) > 0.003) now.loud++;
    return value;
  }

  report(out) {
    const now = this.now;
    now.level = Math.max(now.level, rms(out));
    now.since += out.length;
    if (now.since < this.every) return;
    const buffered = this.queue.reduce((sum, piece) => sum + piece.samples.length - piece.at, 0);
    const idle = buffered === 0 && now.level === 0;
    const item = this.queue[0]?.item ?? now.item; // what is played, or waits to be played
    const played = item === now.item ? now.played : 0;
    const { loud, level } = now;
    if (!(idle && now.idle)) this.port.postMessage({ item, played, buffered, loud, level, held: this.held });
    Object.assign(now, { level: 0, since: 0, idle });
  }
}

if (globalThis.registerProcessor) {
  registerProcessor("aura-mic", Mic);
  registerProcessor("aura-player", Player);
}
