/** Waveforms, fetched piece by piece and only as fine as they are seen. */

import { api } from "./api.js";

const BUCKET_S = 0.004; // at level 0; four times as much at each further level (storage/digest/sound.py)
const LEVELS = 5;
const BLOCK_S = BUCKET_S * 4 ** (LEVELS - 1) * 128;
const AT_ONCE = 4;
const KEPT = 600; // blocks
const MANY = 6; // when so many are missing, they come from left to right
const RETRY_MS = 3000;

export class Peaks {
  /** `changed` is called when more has come. */
  constructor(id, seconds, changed) {
    Object.assign(this, { id, seconds, changed });
    this.blocks = new Map();
    this.wanted = new Map();
    this.asked = new Set();
    this.stop = new AbortController();
  }

  close() {
    this.stop.abort();
  }

  /** How loud it is, 0 to 1, in `count` equal steps from `from` on; -1 where it is not known yet, but asked for. */
  bars(side, from, step, count) {
    const level = Math.max(0, Math.min(LEVELS - 1, Math.floor(Math.log(step / BUCKET_S) / Math.log(4) + 1e-9)));
    const first = Math.max(0, Math.floor(from / BLOCK_S));
    const last = Math.floor(Math.min(this.seconds, from + step * count) / BLOCK_S);
    for (let block = first; block <= last; block++) this.want(side, block, level);
    const found = new Float32Array(count);
    let block = -1;
    let known = null;
    for (let i = 0; i < count; i++) {
      const begin = Math.max(0, from + i * step);
      const end = from + (i + 1) * step;
      if (end <= 0 || begin >= this.seconds) continue;
      const here = Math.floor(begin / BLOCK_S);
      if (here !== block) [block, known] = [here, this.best(side, here, level)];
      found[i] = known ? loudest(known, begin - block * BLOCK_S, end - block * BLOCK_S) : -1;
    }
    return found;
  }

  /** What there is of a block: the level that is looked for, else the nearest. */
  best(side, block, level) {
    for (let off = 0; off < LEVELS; off++) {
      for (const near of off ? [level - off, level + off] : [level]) {
        const data = this.blocks.get(`${side} ${near} ${block}`);
        if (data) return { data, bucket: BUCKET_S * 4 ** near };
      }
    }
    return null;
  }

  want(side, block, level) {
    const key = `${side} ${level} ${block}`;
    if (this.blocks.has(key) || this.asked.has(key)) return;
    this.wanted.delete(key);
    this.wanted.set(key, { side, block, level });
    this.pump();
  }

  pump() {
    while (this.asked.size < AT_ONCE && this.wanted.size) {
      const keys = [...this.wanted.keys()];
      const key = this.wanted.size > MANY ? keys[0] : keys.at(-1); // what was looked at last comes first
      const { side, block, level } = this.wanted.get(key);
      this.wanted.delete(key);
      this.fetch(key, side, block, level);
    }
  }

  async fetch(key, side, block, level) {
    this.asked.add(key);
    try {
      this.blocks.set(key, await api.peaks(this.id, side, block, level, this.stop.signal));
      if (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value);
    } catch (error) {
      if (error.name === "AbortError") return;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS)); // still asked: not asked for again at once
    }
    this.asked.delete(key);
    this.changed();
    this.pump();
  }
}

/** Between two moments of a block, at least in one bucket. */
function loudest({ data, bucket }, begin, end) {
  const low = Math.floor(begin / bucket);
  const high = Math.min(data.length / 2, Math.max(low + 1, Math.ceil(end / bucket)));
  let most = 0;
  for (let i = low; i < high; i++) most = Math.max(most, -data[2 * i], data[2 * i + 1]);
  return most / 127;
}
