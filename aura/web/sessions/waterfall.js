/** Where a turn's time went, as the conversation page shows it, but told to somebody else than the user. */

import { details } from "../times.js";

const NEUTRAL = {
  "Knowing you had finished": "Knowing the turn was over",
  "Noticing your pause": "Noticing the pause",
  "Making sure you had finished": "Making sure the turn was over",
  "The answer was prepared while you paused.": "The answer was prepared during the pause.",
};

export function waterfall(latency) {
  const box = details(latency);
  for (const element of box.querySelectorAll("dt, .aside, .part")) {
    const last = element.lastChild;
    if (last && NEUTRAL[last.data]) last.data = NEUTRAL[last.data];
    const [name, time] = element.title.split(": ");
    if (NEUTRAL[name]) element.title = `${NEUTRAL[name]}: ${time}`;
  }
  return box;
}
