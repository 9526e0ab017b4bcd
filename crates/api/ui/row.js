// One backend in a column.

import { el, mark, say, symbol } from "./dom.js";
import { drawnBy, spark } from "./spark.js";
import { count, latency, perSec, stateOf } from "./words.js";

/** The height of a row, as the style sheet has it. */
export const HEIGHT = 86;

/** How full it is: of the hard limit, or where there is none of what would be much for it. */
export function load({ view, now }) {
  const whole = view.hard_limit || (view.soft_limit ? view.soft_limit * 1.5 : Math.max(now[3], 10));
  return { share: Math.min(now[3] / whole, 1), soft: view.soft_limit ? view.soft_limit / whole : 1 };
}

/** Its requests in flight in words, beside its limits. */
export function inFlight({ view, now }) {
  return view.hard_limit ? `${count(now[3])} of ${count(view.hard_limit)}` : count(now[3]);
}

export class Row {
  constructor(open) {
    this.id = el("span", { class: "id" });
    this.of = el("span", { class: "of" });
    this.word = el("span", { class: "word" });
    // As the style sheet has them.
    this.rate = el("canvas", { "aria-hidden": "true" });
    this.requests = el("span", { class: "figure" });
    this.slow = el("canvas", { class: "slow", "aria-hidden": "true" });
    [this.rate.fixed, this.slow.fixed] = [[76, 26], [48, 26]];
    this.latency = el("span", { class: "figure" });
    this.why = el("span", { class: "why" });
    this.fill = el("span", { class: "fill" });
    this.soft = el("span", { class: "soft" });
    this.load = el("span", { class: "small" });
    this.weight = el("span", { class: "small" });
    this.button = el(
      "button",
      { type: "button", class: "row", "aria-pressed": "false", tabindex: "-1", onclick: () => open(this.key) },
      el("span", {}, this.id, this.of, this.word),
      el("span", {}, this.rate, this.requests, this.slow, this.latency, this.why),
      el("span", {}, el("span", { class: "bar", "aria-hidden": "true" }, this.fill, this.soft), this.load, this.weight),
    );
    this.item = el("li", {}, this.button);
    this.key = null;
    this.state = null;
  }

  /** Stands at that place of so many. */
  place(index, size) {
    if (this.index !== index) {
      this.index = index;
      this.item.style.transform = `translateY(${index * HEIGHT}px)`;
      this.item.setAttribute("aria-posinset", index + 1);
    }
    if (this.size !== size) {
      this.size = size;
      this.item.setAttribute("aria-setsize", size);
    }
  }

  /** Shows that backend, whose figures are of that second. */
  show(backend, withApp, selected, second) {
    const { view, history, now } = backend;
    this.key = view.id;
    say(this.id, view.id);
    say(this.of, withApp ? view.app : "");
    if (this.state !== view.state) {
      this.state = view.state;
      const { word, tone } = stateOf(view.state);
      this.word.className = `word ${tone}`;
      this.word.replaceChildren(symbol(view.state), word);
    }
    // Figures of one that gets nothing say nothing; why it gets nothing does.
    const isWell = view.state === "routable";
    for (const element of [this.requests, this.slow, this.latency]) element.hidden = !isWell;
    this.why.hidden = isWell;
    if (isWell) {
      say(this.requests, now[1] > 0 ? `${perSec(now[0])}/s, ${perSec(now[1])} failed` : `${perSec(now[0])}/s`);
      this.requests.classList.toggle("bad", now[1] > 0);
      say(this.latency, latency(now[2]));
    } else {
      say(this.why, view.reason);
      mark(this.why, "title", view.reason);
    }
    const { share, soft } = load(backend);
    this.fill.style.transform = `scaleX(${share.toFixed(3)})`;
    mark(this.fill, "class", share >= 1 ? "fill bad" : share > soft ? "fill warn" : "fill");
    this.soft.style.left = `${(soft * 100).toFixed(1)}%`;
    this.soft.hidden = soft >= 1;
    say(this.load, `${inFlight(backend)} in flight`);
    say(this.weight, `weight ${view.weight}`);
    mark(this.button, "aria-pressed", selected);
    const drawn = `${second} ${drawnBy()} ${view.incarnation} ${view.id} ${isWell}`;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    spark(this.rate, history, "rate", { errors: "errors" });
    if (isWell) spark(this.slow, history, "latency", { least: 0.5, tone: "muted" });
  }
}
