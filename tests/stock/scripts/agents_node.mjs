// The Agents SDK for JavaScript, Node build or (with --conditions=browser) browser build: it configures, truncates,
// retrieves and runs functions by itself; the app only plays and speaks.

import { readFileSync } from "node:fs";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { Mic, Speaker, checkSound, job, report, run, same, sleep, until } from "./common.mjs";

const speaker = new Speaker();
const counts = {};
const done = [];
const ends = [];
const ran = [];
let interruptions = 0;
let history = [];

const makeTicket = tool({
  name: job.tool,
  description: "Makes a ticket for a wish.",
  parameters: {
    type: "object",
    properties: { wish: { type: "string" } },
    required: ["wish"],
    additionalProperties: false,
  },
  strict: true,
  execute: async (input) => {
    ran.push(input);
    return job.ticket;
  },
});

function listen(session) {
  session.on("error", ({ error }) => report.error(error?.error ?? error, error?.error?.code ?? error?.code));
  session.on("audio", (event) => speaker.put(Buffer.from(event.data), session.transport.currentItemId));
  session.on("audio_interrupted", () => {
    interruptions += 1;
    speaker.flush();
  });
  session.on("history_updated", (items) => (history = items));
  session.on("agent_end", (_context, _agent, text) => ends.push(text));
  session.on("guardrail_tripped", (...facts) => report.error(facts));
  session.transport.on("*", (event) => {
    counts[event.type] = (counts[event.type] ?? 0) + 1;
    if (event.type === "response.done") done.push(event.response);
  });
}

const texts = (role) =>
  history.filter((item) => item.type === "message" && item.role === role).map((item) => item.content.map((part) => part.transcript ?? part.text ?? "").join(""));

function checkUser(...wanted) {
  report.check("the user's words are in the SDK's history", !wanted[0] || JSON.stringify(texts("user")) === JSON.stringify(wanted), texts("user"));
}

function checkEnd(number, want) {
  report.check(`response ${number} is completed`, done[number]?.status === "completed", done[number]?.status);
  report.check("agent_end has the text", !want || same(ends.at(-1) ?? "", want), ends);
  report.check("the SDK's history has the text", !want || texts("assistant").some((text) => same(text, want)), texts("assistant"));
}

const scenes = {
  async turn(session, mic) {
    await mic.say(job.clips.ask);
    if (await until(() => ends.length, 15, "agent_end")) {
      await sleep(300);
      checkEnd(0, job.replies.ask);
      checkSound(speaker);
    }
    checkUser(job.words.ask);
  },
  async ptt(session, mic) {
    mic.open = false;
    await mic.say(job.clips.ask);
    session.sendAudio(new ArrayBuffer(0), { commit: true });
    await sleep(1000);
    report.check("a commit makes no response", !counts["response.created"]);
    session.transport.requestResponse();
    if (await until(() => ends.length, 15, "agent_end")) {
      await sleep(300);
      checkEnd(0, job.replies.ask);
      checkSound(speaker);
    }
    checkUser(job.words.ask);
  },
  async text(session) {
    session.sendMessage(job.typed);
    if (!(await until(() => ends.length, 15, "agent_end"))) return;
    await sleep(300);
    checkEnd(0, job.replies.typed);
    checkUser(job.typed);
    report.check("there is no audio", speaker.totalS === 0, speaker.totalS);
  },
  async tool(session, mic) {
    await mic.say(job.clips.order);
    if (!(await until(() => done.length > 1, 20, "the answer after the call"))) return;
    await sleep(300);
    report.check("the function ran once", ran.length === 1, ran);
    report.check("it got the arguments", ran[0]?.wish?.includes(job.words.order), ran);
    checkEnd(1, job.replies.tool);
    checkSound(speaker);
  },
  async barge(session, mic) {
    await mic.say(job.clips.ask);
    if (!(await until(() => speaker.playedS > 2.5, 15, "2.5 s of the reply"))) return;
    await mic.say(job.clips.over);
    if (await until(() => done.length > 1, 15, "a second reply")) {
      await sleep(300);
      report.check("the first is cancelled", done[0].status === "cancelled", done[0].status);
      checkEnd(1, job.replies.over);
      checkSound(speaker);
    }
    report.check("the SDK says audio_interrupted", interruptions >= 1, interruptions);
    report.check("the truncation is answered", counts["conversation.item.truncated"] >= 1, counts);
    checkUser(job.words.ask, job.words.over);
  },
};

await run(async () => {
  const path = `${process.env.AURA_STOCK_NODE}/node_modules/@openai/agents-realtime/package.json`;
  report.version = JSON.parse(readFileSync(path, "utf8")).version;
  const agent = new RealtimeAgent({ name: "guide", instructions: "Be brief.", tools: job.scenario === "tool" ? [makeTicket] : [] });
  const transport = new OpenAIRealtimeWebSocket({ url: `${job.url}?model=aura`, useInsecureApiKey: true });
  const config = { outputModalities: [job.scenario === "text" ? "text" : "audio"] };
  if (job.scenario === "ptt") config.audio = { input: { turnDetection: null } };
  const session = new RealtimeSession(agent, { transport, config });
  listen(session);
  await session.connect({ apiKey: job.key, url: `${job.url}?model=aura` });
  const mic = new Mic((frame) => session.sendAudio(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.length)));
  if (await until(() => counts["session.updated"], 5, "session.updated")) {
    if (job.scenario !== "text") mic.run();
    await scenes[job.scenario](session, mic);
  }
  mic.running = false;
  report.facts = { events: counts, interruptions, ran };
  session.close();
  await sleep(200);
});
