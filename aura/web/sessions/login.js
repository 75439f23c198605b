/** Asks for the operator's key. A link may bring it behind its `#`, which no server and no log ever sees. */

import { api } from "./api.js";
import { make } from "./util.js";

/** The key of a link such as the one that the server shows when it starts; taken out of the address at once. */
export async function keyFromLink() {
  const found = location.hash.match(/^#key=(.+)$/);
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  try {
    await api.login(decodeURIComponent(found[1]));
    return "";
  } catch (error) {
    return error.message;
  }
}

const local = () => ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** The form; resolves when the key was right. */
export function showLogin(parent, why = "") {
  return new Promise((resolve) => {
    const trouble = make("p", { class: "trouble", role: "alert" }, why);
    const field = make("input", {
      id: "key",
      type: "password",
      name: "key",
      autocomplete: "current-password",
      required: true,
      "aria-describedby": "key-help",
    });
    const button = make("button", { type: "submit", class: "primary" }, "Open");
    const form = make(
      "form",
      { class: "card login" },
      make("h2", {}, "Sessions"),
      make("p", { class: "big" }, "Recordings are private."),
      make("label", { for: "key" }, "Operator’s key"),
      make("div", { class: "row" }, field, button),
      trouble,
      make(
        "p",
        { class: "help", id: "key-help" },
        "It is the setting ",
        make("code", {}, "server.operator_key"),
        ". If that is not set, it stands in the file ",
        make("code", {}, "operator.key"),
        " in AURA’s data folder, and in the link that the server shows when it starts.",
      ),
      location.protocol === "http:" && !local()
        ? make("p", { class: "help warn" }, "This connection is not encrypted: anybody on the way can read the key.")
        : "",
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      trouble.textContent = "";
      try {
        await api.login(field.value);
        resolve();
      } catch (error) {
        trouble.textContent = error.message;
        field.select();
      } finally {
        button.disabled = false;
      }
    });
    parent.replaceChildren(form);
    parent.dataset.view = "login";
    field.focus();
  });
}
