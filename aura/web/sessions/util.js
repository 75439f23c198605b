/** Small things that every view needs: elements, times, words. */

/** An element. Attributes that are functions listen (`onclick`), `dataset` and `style` are set by name. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing on a grid of 20. */
export function icon(path, filled = false) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  if (filled) svg.classList.add("filled");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  play: "M6.5 4.2v11.6l9-5.8z",
  pause: "M6.8 4.5v11M13.2 4.5v11",
  back: "M12 4.5L6.5 10l5.5 5.5",
  search: "M9 14.5a5.5 5.5 0 100-11 5.5 5.5 0 000 11zM13.2 13.2l4 4",
  warn: "M10 6.5v4.2M10 13.6v.01M10 2.8L1.9 16.7h16.2z",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  plus: "M10 4.5v11M4.5 10h11",
  minus: "M4.5 10h11",
  fit: "M3 7.5V3.8h3.7M17 7.5V3.8h-3.7M3 12.5v3.7h3.7M17 12.5v3.7h-3.7",
  link: "M8.4 11.6a3.2 3.2 0 004.6 0l2.6-2.6a3.25 3.25 0 00-4.6-4.6l-1 1M11.6 8.4a3.2 3.2 0 00-4.6 0L4.4 11a3.25 3.25 0 004.6 4.6l1-1",
  sound: "M4 8v4h2.6L10.4 15V5L6.6 8zM13.2 7.4a3.6 3.6 0 010 5.2M15.4 5.2a6.8 6.8 0 010 9.6",
  silent: "M4 8v4h2.6L10.4 15V5L6.6 8zM13.4 8l4 4M17.4 8l-4 4",
};

/** 75.25 → "1:15.3"; hours only where there are any. */
export function clock(seconds, digits = 1) {
  const scale = 10 ** digits;
  const whole = Math.max(0, Math.round(seconds * scale)) / scale;
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** A length in words: "8 s", "2 min 5 s", "1 h 3 min". */
export function span(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** 0.0432 s → "43 ms"; longer ones in seconds. */
export function ms(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 10_000 ? `${Math.round(milliseconds)} ms` : span(milliseconds / 1000);
}

const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const TIME_S = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function moment(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? null : at;
}

export const time = (text) => (moment(text) ? TIME.format(moment(text)) : "");
export const date = (text) => (moment(text) ? `${DATE.format(moment(text))}, ${TIME_S.format(moment(text))}` : "");

/** "Today", "Yesterday" or the date. */
export function day(text) {
  const at = moment(text);
  if (!at) return "Without a date";
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.round((midnight - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  return ["Today", "Yesterday"][days] ?? DAY.format(at);
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** The folder's name in `2026-11-22/sess_0123`: what the command line calls the recording. */
export const nameOf = (id) => id.split("/").at(-1);

/** Why a conversation ended, in words, and whether that is worth a second look. */
export function ending(outcome) {
  if (outcome === "cut short") return { text: "cut short", bad: true };
  if (outcome === "going on") return { text: "going on", bad: false };
  if (outcome.startsWith("bug")) return { text: "ended by a bug", bad: true };
  if (/^closed 100[01]\b/.test(outcome)) return { text: "hung up", bad: false };
  return { text: outcome.replace(/^closed (\d+)$/, "connection closed ($1)"), bad: !outcome.startsWith("closed") };
}

/** Tell a screen reader. */
export function say(text) {
  document.getElementById("spoken").textContent = text;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
