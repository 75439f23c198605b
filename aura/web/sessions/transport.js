/** Play, where it is, how large: the controls above a timeline. */

import { ICONS, clock, icon, make } from "./util.js";

const ZOOM = 1.6;

export function transport(player, view, seconds) {
  const button = make("button", { type: "button", class: "play", onclick: () => player.toggle() });
  const at = make("output", { class: "time" });
  const tool = (name, label, act) =>
    make("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick: act }, icon(ICONS[name]));
  const anchor = () => {
    const x = view.x(player.position);
    return x >= 0 && x <= view.width ? x : view.width / 2;
  };
  const all = tool("fit", "See all", () => view.fit());
  const show = () => {
    const text = player.playing ? "Pause" : "Play";
    if (button.getAttribute("aria-label") !== text) {
      button.setAttribute("aria-label", text);
      button.replaceChildren(icon(player.playing ? ICONS.pause : ICONS.play, !player.playing));
    }
    button.classList.toggle("waiting", player.waiting);
  };
  const tick = () => {
    at.replaceChildren(make("strong", {}, clock(player.position)), ` / ${clock(seconds())}`);
  };
  player.addEventListener("change", show);
  view.addEventListener("change", () => (all.disabled = view.fitted));
  show();
  tick();
  const element = make(
    "div",
    { class: "transport" },
    button,
    at,
    make(
      "div",
      { class: "zoom" },
      tool("minus", "Smaller", () => view.zoom(1 / ZOOM, anchor())),
      tool("plus", "Larger", () => view.zoom(ZOOM, anchor())),
      all,
    ),
  );
  return { element, tick };
}
