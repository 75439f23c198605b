/** The session page: which view is shown, by the address. `window.aura` shows what is there, for tests and the curious. */

import { Locked, api } from "./api.js";
import { ComparePage } from "./compare.js";
import { ConversationPage } from "./conversation.js";
import { List } from "./list.js";
import { keyFromLink, showLogin } from "./login.js";
import { ICONS, icon, make } from "./util.js";

const page = document.getElementById("page");
const logout = document.getElementById("logout");
const RECORDING = /^\d{4}-\d\d-\d\d\/[A-Za-z0-9_-]{1,100}$/;

const state = { view: null };
window.aura = state;

const go = {
  /** An address within the page. */
  to(address) {
    history.pushState(null, "", address);
    open();
  },

  /** Something went wrong: ask for the key, or say what it is. */
  async failed(error, place) {
    if (error instanceof Locked) return unlock("");
    place.replaceChildren(
      make(
        "div",
        { class: "failed", role: "alert" },
        icon(ICONS.warn),
        make("p", {}, error.message),
        make("button", { type: "button", class: "text", onclick: () => open() }, "Try again"),
      ),
    );
    page.setAttribute("aria-busy", "false");
  },
};

async function unlock(why) {
  close();
  logout.hidden = true;
  await showLogin(page, why);
  open();
}

function close() {
  state.view?.close();
  state.view = null;
  page.className = "";
}

function open() {
  close();
  const query = new URLSearchParams(location.search);
  const [id, other, pick] = ["id", "with", "pick"].map((name) =>
    RECORDING.test(query.get(name) ?? "") ? query.get(name) : null,
  );
  document.title = "Sessions · AURA";
  logout.hidden = false;
  page.scrollTop = 0;
  if (id && other) state.view = new ComparePage(page, id, other, go);
  else if (id) state.view = new ConversationPage(page, id, go);
  else state.view = new List(page, go, pick);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go.to(link.getAttribute("href"));
});

logout.addEventListener("click", async () => {
  await api.logout().catch(() => {});
  unlock("");
});

addEventListener("popstate", () => open());
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#key=")) location.reload();
});

const why = await keyFromLink();
if (why) unlock(why);
else open();
