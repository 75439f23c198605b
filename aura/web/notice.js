/** Messages to the user: what is wrong and what to do about it. */

const $ = (id) => document.getElementById(id);

const MIC = {
  insecure: ["No microphone on this address.", "Browsers allow it only on https:// pages and on localhost. You can still type."],
  denied: ["The microphone is blocked.", "Allow it for this page in the browser's site settings, then press the button again."],
  missing: ["No microphone was found.", "Connect one and press the button again, or type your message."],
  busy: ["The microphone cannot be used.", "Another program may have it. Close that program and press the button again."],
  unplugged: ["The microphone is gone.", "Connect it again and press the button."],
  failed: ["The microphone did not start.", "Press the button again; if it keeps failing, reload the page."],
};

/** What to say about the microphone. */
export function micNotice(kind) {
  const [title, text] = MIC[kind];
  return { title, text, kind: "mic" };
}

export class Notice {
  constructor(retry) {
    this.kind = "";
    this.timer = 0;
    $("notice-close").addEventListener("click", () => this.hide());
    $("notice-action").addEventListener("click", retry);
  }

  show({ title, text, kind = "other", action = "" }) {
    clearInterval(this.timer);
    this.kind = kind;
    $("notice-title").textContent = title;
    $("notice-text").textContent = text;
    $("notice-action").textContent = action;
    $("notice-action").hidden = !action;
    $("notice").dataset.kind = kind;
    $("notice").hidden = false;
  }

  /** Put it away; with a kind, only a message of that kind. */
  hide(kind = this.kind) {
    if (kind !== this.kind) return;
    clearInterval(this.timer);
    $("notice").hidden = true;
    this.kind = "";
  }

  /** A message with the seconds that are left until then (on the clock of `performance`). */
  countDown(message, until) {
    const text = () => {
      const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
      return `${message.text} ${left > 0 ? `Trying again in ${left} s.` : "Trying again…"}`.trim();
    };
    this.show({ ...message, text: text(), kind: "connection", action: "Try now" });
    this.timer = setInterval(() => ($("notice-text").textContent = text()), 500);
  }
}

/** What the server says about itself; null when it cannot be reached. */
async function readiness() {
  try {
    const answer = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(2000) });
    return await answer.json();
  } catch {
    return null;
  }
}

/**
 * Why there is no connection, from how the last one ended. A browser does not tell the status of a refused WebSocket,
 * so the server is asked.
 */
export async function why({ code, reason, had }) {
  if (code === 1001 && reason.includes("shutting down")) return message("The server is restarting.");
  if (code === 1008) return message("The network is too slow.", "The sound could not be delivered in time.");
  const state = await readiness();
  if (state === null) return message(had ? "The connection was lost." : "The server cannot be reached.");
  const reasons = Object.entries(state.reasons ?? {});
  if (state.reasons?.server) return message("The server is shutting down.", "It takes no new conversations.");
  if (reasons.length) return message("The server is not ready yet.", `${reasons.map((pair) => pair.join(": ")).join("; ")}.`);
  if (!had) return message("The server is full.", "All its conversations are taken, or it does not allow this page.");
  return message("The connection was lost.");
}

const message = (title, text = "") => ({ title, text });
