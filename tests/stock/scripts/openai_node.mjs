// The `openai` package for Node: it sends nothing by itself. This app plays what it gets, stops on speech_started and
// tells the server nothing about it, so the server has only its own clock to know what was heard.

import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { VERSION } from "openai/version";
import { Mic, Speaker, checkSound, job, report, run, same, sleep, until } from "./common.mjs";

const speaker = new Speaker();
const counts = {};
const users = [];
const replies = [];
const deltas = {};

const tool = {
  type: "function",
  name: job.tool,
  description: "Makes a ticket for a wish.",
  parameters: { type: "object", properties: { wish: { type: "string" } }, required: ["wish"] },
};
const vad = { type: "server_vad", threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 };
const session = {
  type: "realtime",
  instructions: "Be brief.",
  output_modalities: [job.scenario === "text" ? "text" : "audio"],
  audio: {
    input: {
      format: { type: "audio/pcm", rate: 24000 },
      transcription: { model: "gpt-4o-mini-transcribe" },
      turn_detection: job.scenario === "ptt" ? null : vad,
    },
    output: { format: { type: "audio/pcm", rate: 24000 }, voice: "alloy" },
  },
  ...(job.scenario === "tool" ? { tools: [tool], tool_choice: "auto" } : {}),
};

function listen(call) {
  call.on("event", (event) => (counts[event.type] = (counts[event.type] ?? 0) + 1));
  call.on("error", (error) => report.error(error.error ? JSON.stringify(error.error) : error, error.error?.code));
  call.on("conversation.item.input_audio_transcription.completed", (event) => users.push(event.transcript));
  call.on("response.output_audio.delta", (event) => speaker.put(Buffer.from(event.delta, "base64"), event.item_id));
  for (const kind of ["response.output_audio_transcript.delta", "response.output_text.delta"])
    call.on(kind, (event) => (deltas[event.response_id] = (deltas[event.response_id] ?? "") + event.delta));
  call.on("response.done", (event) => replies.push(event.response));
  call.on("input_audio_buffer.speech_started", () => speaker.flush());
  call.socket.on("close", (code, reason) => (report.facts.closed = `${code} ${reason}`));
}

const textOf = (reply) =>
  reply.output.filter((item) => item.type === "message").flatMap((item) => item.content).map((part) => part.transcript ?? part.text ?? "").join("");

function checkReply(number, want, status) {
  const reply = replies[number];
  report.check(`reply ${number} is ${status}`, reply.status === status, reply.status);
  report.check(`reply ${number} has usage`, reply.usage && (reply.usage.total_tokens > 0 || status === "cancelled"), reply.usage);
  if (status !== "completed" || !want) return;
  report.check(`reply ${number} says it`, same(textOf(reply), want), textOf(reply));
  report.check(`the deltas of reply ${number} say it`, same(deltas[reply.id] ?? "", want), deltas[reply.id] ?? "");
}

const checkWords = (...wanted) =>
  report.check("the user's words arrive", !wanted[0] || JSON.stringify(users) === JSON.stringify(wanted), users);

const scenes = {
  async turn(call, mic) {
    await mic.say(job.clips.ask);
    if (await until(() => replies.length, 15, "a reply")) {
      checkReply(0, job.replies.ask, "completed");
      checkSound(speaker);
    }
    checkWords(job.words.ask);
  },
  async ptt(call, mic) {
    mic.open = false;
    await mic.say(job.clips.ask);
    call.send({ type: "input_audio_buffer.commit" });
    await sleep(1000);
    report.check("a commit makes no response", !counts["response.created"]);
    call.send({ type: "response.create" });
    if (await until(() => replies.length, 15, "a reply")) {
      checkReply(0, job.replies.ask, "completed");
      checkSound(speaker);
    }
    checkWords(job.words.ask);
    report.check("there are no VAD events", !counts["input_audio_buffer.speech_started"]);
  },
  async text(call) {
    const content = [{ type: "input_text", text: job.typed }];
    call.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    call.send({ type: "response.create" });
    if (!(await until(() => replies.length, 15, "a reply"))) return;
    checkReply(0, job.replies.typed, "completed");
    report.check("it came as text", counts["response.output_text.done"] === 1, counts);
    report.check("there is no audio", speaker.totalS === 0, speaker.totalS);
  },
  async tool(call, mic) {
    await mic.say(job.clips.order);
    if (!(await until(() => replies.length, 15, "the call"))) return;
    const calls = replies[0].output.filter((item) => item.type === "function_call");
    if (!report.check("the response is a function call", calls.length === 1, replies[0].output)) return;
    report.check("it names the function", calls[0].name === job.tool, calls[0].name);
    report.check("it has the arguments", JSON.parse(calls[0].arguments).wish.includes(job.words.order), calls[0].arguments);
    call.send({ type: "conversation.item.create", item: { type: "function_call_output", call_id: calls[0].call_id, output: job.ticket } });
    call.send({ type: "response.create" });
    if (!(await until(() => replies.length > 1, 15, "the answer"))) return;
    checkReply(1, job.replies.tool, "completed");
    checkSound(speaker);
  },
  async barge(call, mic) {
    await mic.say(job.clips.ask);
    if (!(await until(() => speaker.playedS > 2.5, 15, "2.5 s of the reply"))) return;
    await mic.say(job.clips.over);
    if (await until(() => replies.length > 1, 15, "a second reply")) {
      checkReply(0, "", "cancelled");
      report.check("the reason is told", replies[0].status_details?.reason === "turn_detected", replies[0].status_details);
      checkReply(1, job.replies.over, "completed");
      checkSound(speaker);
    }
    checkWords(job.words.ask, job.words.over);
  },
};

await run(async () => {
  report.version = VERSION;
  const call = new OpenAIRealtimeWS({ model: "aura" }, new OpenAI({ apiKey: job.key, baseURL: job.http }));
  listen(call);
  await new Promise((resolve, reject) => call.socket.once("open", resolve).once("error", reject));
  call.send({ type: "session.update", session });
  const mic = new Mic((frame) => call.send({ type: "input_audio_buffer.append", audio: frame.toString("base64") }));
  if (await until(() => counts["session.updated"], 5, "session.updated")) {
    if (job.scenario !== "text") mic.run();
    await scenes[job.scenario](call, mic);
  }
  mic.running = false;
  Object.assign(report.facts, { events: counts, heard: users });
  call.close();
  await until(() => report.facts.closed, 3, "the end of the connection");
});
