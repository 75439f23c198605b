/** The server's answers. Whoever has no key yet gets a `Locked`. */

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Locked extends ApiError {}

const base = new URL("api/", new URL(".", location.href));

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, base), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached. Is it running?");
  }
  if (answer.ok) return answer;
  let message = `The server answered ${answer.status}.`;
  try {
    const text = (await answer.json()).error.message;
    message = `${text[0].toUpperCase()}${text.slice(1)}.`;
  } catch {
    // not our server's words
  }
  throw new (answer.status === 401 ? Locked : ApiError)(answer.status, message);
}

const json = async (path, options) => (await ask(path, options)).json();

export const api = {
  list: (query, signal) => json(`recordings?${new URLSearchParams(query)}`, { signal }),
  conversation: (id, quick, signal) => json(`recordings/${id}${quick ? "?quick=1" : ""}`, { signal }),
  compare: (left, right) => json(`compare?${new URLSearchParams({ left, right })}`),

  /** A block of a waveform: pairs of lowest and highest, in 127ths. */
  async peaks(id, side, block, level, signal) {
    const answer = await ask(`recordings/${id}/peaks/${side}/${block}?level=${level}`, { signal });
    return new Int8Array(await answer.arrayBuffer());
  },

  /** A WAV file: the user on the left, the assistant on the right. */
  async audio(id, from, to, signal) {
    return (await ask(`recordings/${id}/audio/both?from=${from}&to=${to}`, { signal })).arrayBuffer();
  },

  async login(key) {
    await ask("login", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }) });
  },

  async logout() {
    await ask("logout", { method: "POST" });
  },
};
