// What has happened, the latest first.

import * as api from "./api.js";
import { at, choices, el, say } from "./dom.js";
import { clock, kindOf } from "./words.js";

/** Events that are shown at once. */
const SHOWN = 120;

const GROUPS = {
  "": () => true,
  trouble: ({ type }) => ["ejected", "unhealthy", "suspected", "expired", "reset"].includes(type),
  lives: ({ type }) => ["registered", "expired", "removed", "draining"].includes(type),
  health: ({ type }) => ["ejected", "trial", "unhealthy", "readmitted", "suspected"].includes(type),
  changes: ({ type }) => ["changed", "renewed", "draining"].includes(type),
};

/** One event as an item of a list. */
export function eventItem(event, open) {
  const { word, tone } = kindOf(event.type);
  const date = new Date(event.time);
  const name = open && event.backend ? el("button", { type: "button", class: "link", onclick: () => open(event.backend) }, event.backend) : null;
  return el(
    "li",
    {},
    el("time", { datetime: event.time, title: date.toLocaleString() }, clock(date)),
    el("div", {}, el("span", { class: `what ${tone}` }, word), name, el("div", { class: "why" }, event.reason)),
  );
}

export class Log {
  constructor(fleet, open) {
    this.fleet = fleet;
    this.open = open;
    this.seen = "";
    this.held = null;
    this.about(null);
    at("kinds").addEventListener("input", () => fleet.changed());
    at("pause").addEventListener("click", () => {
      this.held = this.held ? null : [...fleet.events];
      at("pause").setAttribute("aria-pressed", String(this.held !== null));
      fleet.changed();
    });
  }

  /** Tells of that backend alone, also what was before this page; `null`: of all again. */
  about(id) {
    const kinds = at("kinds");
    const before = this.id;
    this.id = id;
    this.old = [];
    const all = [["", "all"], ["trouble", "trouble"], ["lives", "coming and going"], ["health", "health"], ["changes", "changes"]];
    choices(kinds, id === null ? all : [["one", `of ${id}`], ...all]);
    if (id === null) return;
    if (before !== id) kinds.value = "one";
    api.events(100, id).then(
      ({ events }) => {
        if (this.id !== id) return;
        this.old = events.reverse();
        this.seen = "";
        this.fleet.changed();
      },
      // What the page has seen itself is told all the same.
      () => {},
    );
  }

  wanted(events) {
    if (at("kinds").value !== "one") return events.filter(GROUPS[at("kinds").value]);
    const own = events.filter(({ backend }) => backend === this.id);
    const seen = new Set(own.map(({ id }) => id));
    return [...own, ...this.old.filter(({ id }) => !seen.has(id))];
  }

  draw() {
    const { fleet, held } = this;
    const missed = held ? Math.max(0, fleet.events.indexOf(held[0])) : 0;
    say(at("pause"), held ? (missed > 0 ? `Go on (${missed} new)` : "Go on") : "Pause");
    const stamp = `${held ? "held" : fleet.news} ${at("kinds").value} ${this.id}`;
    if (stamp === this.seen) return;
    this.seen = stamp;
    const wanted = this.wanted(held ?? fleet.events).slice(0, SHOWN);
    const list = at("log");
    const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
    const items = wanted.map((event) => {
      const item = known.get(event.id) ?? eventItem(event, this.open);
      item.dataset.id = event.id;
      return item;
    });
    if (items.length === 0) items.push(el("li", { class: "none muted" }, "Nothing has happened yet."));
    list.replaceChildren(...items);
  }
}
