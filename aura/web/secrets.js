/** The page's client secrets: short-lived, kept in memory only. A key is asked for where one is needed, and forgotten. */

const PATH = "/v1/realtime/client_secrets";
const EARLY_MS = 5000; // a secret is not used in its last moments
const $ = (id) => document.getElementById(id);

export class Secrets {
  constructor() {
    this.value = "";
    this.until = 0;
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const key = $("key").value.trim();
      $("key").value = "";
      if (key) this.answer?.(key);
    });
    $("key-cancel").addEventListener("click", () => this.answer?.(""));
  }

  /** A secret, or null where the server knows none. `fresh`: the last one was refused. */
  async get({ fresh = false } = {}) {
    if (!fresh && this.value && Date.now() < this.until) return this.value;
    this.value = "";
    let answer = await request();
    for (let wrong = false; answer.status === 401; wrong = true) answer = await request(await this.ask(wrong));
    this.close();
    if (answer.status === 404 || answer.status === 405) return null;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const { value, expires_at: end } = await answer.json();
    const now = Date.parse(answer.headers.get("date") ?? "") || Date.now(); // the clocks may differ
    this.until = Date.now() + end * 1000 - now - EARLY_MS;
    return (this.value = value);
  }

  /** Ask the user for a key. Rejects when they would rather not. */
  ask(wrong) {
    $("key-form").hidden = false;
    $("key-wrong").hidden = !wrong;
    $("key").setAttribute("aria-invalid", String(wrong));
    $("key").focus();
    return new Promise((resolve, reject) => {
      this.answer = (key) => (key ? resolve(key) : reject(new NoKey()));
    }).finally(() => {
      this.answer = null;
    });
  }

  close() {
    const had = $("key-form").contains(document.activeElement);
    $("key-form").hidden = true;
    $("key-wrong").hidden = true;
    if (had) $("mic").focus();
  }
}

/** The user gave no key. */
export class NoKey extends Error {}

function request(key) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const body = JSON.stringify({ session: { type: "realtime" } });
  return fetch(PATH, { method: "POST", headers, body, cache: "no-store", credentials: "omit" });
}
