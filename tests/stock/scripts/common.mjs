// What the scripts for Node share: the job, the report, a microphone and a loudspeaker in real time.

import { readFileSync, writeFileSync } from "node:fs";

export const RATE_HZ = 24000;
const FRAME_MS = 20;
const FRAME_BYTES = (2 * RATE_HZ * FRAME_MS) / 1000;
const BENIGN = new Set(["response_cancel_not_active"]); // clients cause it by themselves; it changes nothing

export const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const same = (one, other) => one.split(/\s+/).join(" ").trim() === other.split(/\s+/).join(" ").trim();

export const report = {
  version: "",
  checks: [],
  errors: [],
  facts: {},
  check(what, ok, detail = "") {
    const text = typeof detail === "string" ? detail : JSON.stringify(detail) ?? "";
    this.checks.push({ what, ok: Boolean(ok), detail: text.slice(0, 500) });
    return Boolean(ok);
  },
  error(what, code) {
    if (!BENIGN.has(code)) this.errors.push((typeof what === "string" ? what : what?.stack ?? JSON.stringify(what)).slice(0, 500));
  },
  write() {
    const { version, checks, errors, facts } = this;
    writeFileSync(process.argv[3], JSON.stringify({ version, checks, errors, facts }));
  },
};

export async function until(isTrue, seconds, what) {
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    if (isTrue()) return true;
    await sleep(20);
  }
  report.check(`${what} within ${seconds} s`, false);
  return false;
}

// What is said, and silence at all other times.
export class Mic {
  constructor(send) {
    this.send = send;
    this.waiting = Buffer.alloc(0);
    this.open = true;
    this.running = true;
  }
  async run() {
    const began = performance.now();
    for (let sent = 1; this.running; sent += 1) {
      const frame = this.waiting.subarray(0, FRAME_BYTES);
      this.waiting = this.waiting.subarray(frame.length);
      if (frame.length || this.open) this.send(Buffer.concat([frame, Buffer.alloc(FRAME_BYTES - frame.length)]));
      await sleep(Math.max(0, began + sent * FRAME_MS - performance.now()));
    }
  }
  async say(path) {
    this.waiting = Buffer.concat([this.waiting, readFileSync(path)]);
    while (this.waiting.length) await sleep(FRAME_MS);
  }
}

// Plays what it is given in real time, and knows how much of it was heard. Another item starts the count anew.
export class Speaker {
  constructor() {
    this.ends = this.putS = this.totalS = this.loudest = 0;
    this.item = "";
  }
  put(pcm, item = "") {
    const now = performance.now();
    if (item !== this.item) Object.assign(this, { item, putS: 0, ends: now });
    const seconds = pcm.length / 2 / RATE_HZ;
    this.ends = Math.max(this.ends, now) + 1000 * seconds;
    this.putS += seconds;
    this.totalS += seconds;
    for (let at = 0; at + 1 < pcm.length; at += 2) this.loudest = Math.max(this.loudest, pcm.readInt16LE(at));
  }
  get playedS() {
    return Math.max(0, this.putS - Math.max(0, this.ends - performance.now()) / 1000);
  }
  flush() {
    const played = this.playedS;
    this.ends = performance.now();
    this.putS = played;
    return played;
  }
}

export function checkSound(speaker) {
  report.check("there is audio", speaker.totalS > 0.5, speaker.totalS);
  report.check("the audio is no silence", speaker.loudest > 1000, speaker.loudest);
}

// Runs a script's scenario, whatever happens, within its time, and reports.
export async function run(main) {
  let code = 0;
  process.on("uncaughtException", (error) => fail(error));
  process.on("unhandledRejection", (error) => fail(error));
  function fail(error) {
    report.error(error);
    report.write();
    process.exit(1);
  }
  const timer = setTimeout(() => {
    report.check(`over within ${job.seconds} s`, false);
    report.write();
    process.exit(0);
  }, 1000 * job.seconds);
  try {
    await main();
  } catch (error) {
    report.error(error);
    code = 1;
  }
  clearTimeout(timer);
  report.write();
  process.exit(code);
}
