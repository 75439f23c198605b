/** What a thing on the timeline is, in words: a title, a line, and the numbers behind it. */

import { clock, ms, plural, span } from "./util.js";

export const PARTS = { stt: "Speech to text", chat: "Language model", tts: "Voice", tool: "Tool" };

const STATES = {
  idle: ["Idle", "Nobody has the floor."],
  listening: ["Listening", "The user has the floor."],
  thinking: ["Thinking", "The turn is over, the answer is being made."],
  speaking: ["Speaking", "The answer is being heard."],
  interrupted: ["Interrupted", "The user spoke over the answer. Output is held until it is decided whether they meant it."],
};

const WHY = {
  words: "They said words of their own.",
  sustained: "They went on speaking long enough.",
  echo: "The microphone heard the assistant itself.",
  backchannel: "It was a sign of listening, like “uh-huh”.",
  no_words: "There were no words in it.",
  nothing_recognised: "It stopped, and no words were recognised.",
  held_too_long: "Output was held long enough without anything to go by.",
  TranscriptReady: "What had cut the answer off turned out to be noise, so the new speech counts.",
  StageFailed: "The speech could not be transcribed.",
  ReplyCancelled: "The client stopped the answer.",
  AudioCleared: "The client threw the audio away.",
  AudioCommitted: "The client closed the utterance itself.",
};

const SAID = { words: "words of their own", backchannel: "a backchannel", echo: "an echo", empty: "nothing" };

const LOOKED = { complete: "looked complete", unknown: "could be complete or not", unfinished: "looked unfinished" };

const percent = (share) => `${Math.round(100 * share)} %`;
const rows = (...pairs) => pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");

function overlap(one, { settings }) {
  const words = one.said === null ? "not known yet" : (SAID[one.said] ?? one.said);
  return {
    title: one.confirmed ? "Interruption" : "Not an interruption",
    kind: one.confirmed ? "interrupted" : "dismissed",
    line: WHY[one.why] ?? one.why,
    bar: one.needed_ms
      ? {
          value: one.voiced_ms,
          needed: one.needed_ms,
          label: `Spoke for ${one.voiced_ms} of ${one.needed_ms} ms that would be enough without words`,
        }
      : null,
    rows: rows(
      ["Decided because of", one.why],
      ["Spoken", `${one.voiced_ms} ms`],
      ["Enough without words", one.needed_ms ? `${one.needed_ms} ms` : ""],
      ["Silent since", `${one.silence_ms} ms`],
      ["Output held", `${one.held_ms || Math.round(1000 * (one.at - one.began))} ms`],
      ["What was said", words],
      [
        "Words that were the assistant’s own",
        one.echo_share
          ? `${percent(one.echo_share)} (an echo from ${percent(settings.overlap?.echo_share ?? 0.65)})`
          : percent(0),
      ],
      ["Answer", one.reply || ""],
    ),
  };
}

function speech(one) {
  const fate = { turn: "A turn of the user", dismissed: "Not taken for a turn", "": "Speech" }[one.fate];
  const sounded = one.voiced.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const looked = LOOKED[one.words];
  return {
    title: one.fate === "dismissed" ? "Speech that was no turn" : one.turn ? `Turn ${one.turn}` : "Speech",
    kind: one.fate === "dismissed" ? "dismissed" : "listening",
    line: [
      `${fate}${one.over ? ", begun over the answer" : ""}.`,
      one.decided !== null && one.silence_ms
        ? `It ended after ${one.silence_ms} ms of silence${looked ? `, because the words ${looked}` : ""}.`
        : "",
      one.cause === "too_long" ? "It was cut because it was too long." : "",
    ]
      .filter(Boolean)
      .join(" "),
    rows: rows(
      ["From the first sound to the last", span(one.end - one.begin)],
      ["Sounding", span(sounded)],
      ["Pauses", one.voiced.length - 1 || "none"],
      ["Waited in silence", one.silence_ms ? `${one.silence_ms} ms` : ""],
      ["Words", looked ?? ""],
    ),
  };
}

function call(one) {
  const took = one.end === null ? null : one.end - one.begin;
  const bad = !["ok", "cancelled", "unfinished"].includes(one.outcome);
  const outcome =
    { ok: "", cancelled: "cancelled: nobody wanted it any more", unfinished: "the recording ends first" }[one.outcome] ??
    one.outcome;
  return {
    title: one.part === "tool" ? `Tool: ${one.provider}` : `${PARTS[one.part] ?? one.part}: ${one.provider}`,
    kind: bad ? "bad" : one.outcome === "ok" ? "call" : "cancelled",
    line: [took === null ? "" : ms(1000 * took), outcome].filter(Boolean).join(", "),
    rows: rows(
      ["Outcome", one.outcome],
      ["First result", one.first === null ? "" : ms(1000 * (one.first - one.begin))],
      ["In all", took === null ? "" : ms(1000 * took)],
      ["Audio", one.audio_s ? span(one.audio_s) : ""],
      ["Tokens in", one.input_tokens],
      ["of them cached", one.cached_tokens],
      ["Tokens out", one.output_tokens],
      ["Answer", one.reply || ""],
      ["Error", one.error],
    ),
    texts: rows(
      [{ chat: "Last message", tts: "To say", tool: "Arguments", stt: "" }[one.part], one.part === "stt" ? "" : one.asked],
      [{ stt: "Understood", chat: "Wrote", tool: "Result", tts: "" }[one.part], one.gave],
    ),
  };
}

function latency(one) {
  return {
    title: `Answered after ${ms(one.ms.voice_to_voice)}`,
    kind: "wait",
    line: one.draft
      ? "The answer was prepared during a pause, before it was certain that the turn was over."
      : "From the user’s last sound to the first of the answer.",
    latency: one,
    rows: rows(["Turn", one.turn || ""], ["Answer", one.reply]),
  };
}

function state(one) {
  const [title, line] = STATES[one.state] ?? [one.state, ""];
  return { title, kind: one.state, line, rows: rows(["For", span(one.end - one.begin)], ["Because of", one.cause]) };
}

function answer(one) {
  const ends = {
    finished: "heard to its end",
    cancelled: "cut off",
    failed: "failed",
    dropped: "dropped, nobody heard of it",
    running: "still going on at the end",
  };
  const sources = {
    speech: "what the user said",
    request: "the client’s request",
    say: "the server’s own wish",
    apology: "a failure: it is an apology",
    rest: "an unheard rest",
  };
  return {
    title: `Answer ${one.reply}`,
    kind: one.outcome === "failed" ? "bad" : "speaking",
    line: `It answers ${sources[one.source] ?? one.source}; ${ends[one.outcome]}.`,
    rows: rows(
      ["Begun", clock(one.begin, 2)],
      ["Heard from", one.audible === null ? "never" : clock(one.audible, 2)],
      ["Ended", one.end === null ? "" : clock(one.end, 2)],
      ["Why", one.why],
      ["Stands in for answer", one.retry_of || ""],
    ),
  };
}

function problem(one) {
  return {
    title: `Error: ${one.what}`,
    kind: "bad",
    line: one.text || "",
    rows: rows(["Where", one.where], ["Engine", one.provider], ["Answer", one.reply || ""]),
  };
}

function parting(one) {
  return { title: "Here they part", kind: "parting", line: one.line, rows: [] };
}

const KINDS = { overlap, speech, call, latency, state, answer, problem, parting };

/** `mark`: {kind, begin, end, one}. */
export function describe(mark, conversation) {
  return { begin: mark.begin, end: mark.end, ...KINDS[mark.kind](mark.one, conversation) };
}

export const heading = (mark, conversation) => {
  const told = describe(mark, conversation);
  return `${told.title}, at ${clock(mark.begin, 1)}. ${told.line}`;
};

export const overview = (conversation) => {
  const meant = conversation.overlaps.filter((one) => one.confirmed).length;
  return [
    plural(conversation.latencies.length, "answered turn"),
    plural(meant, "interruption"),
    plural(conversation.problems.length, "error"),
  ].join(", ");
};
