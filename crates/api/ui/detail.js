// Everything about one backend.

import * as api from "./api.js";
import { askDrain, askEnabled, askWeight, may } from "./actions.js";
import { stateWord } from "./columns.js";
import { at, el, say } from "./dom.js";
import { inFlight } from "./row.js";
import { spark } from "./spark.js";
import { count, duration, latency, perSec } from "./words.js";

/** How often what only a look tells, such as the last heartbeat, is looked at, in ms. */
const LOOK = 2_000;

const limit = (number) => (number === 0 ? "none" : count(number));

/** What the API says, in words, in the order of interest. */
function pairs(view) {
  const { overrides = {}, reported = {} } = view;
  const set = (name) => (overrides[name] === undefined ? "" : ", set by an operator");
  const leased = view.ttl_secs === null;
  return [
    ["App", view.app],
    ["Region", `${view.region}, ${view.country}`],
    ["Address", `${view.ip.includes(":") ? `[${view.ip}]` : view.ip}:${view.port}`],
    ["Protocol", view.protocol],
    ["Weight", `${view.weight}${set("weight")}`],
    ["Soft limit", `${limit(view.soft_limit)}${set("soft_limit")}`],
    ["Hard limit", `${limit(view.hard_limit)}${set("hard_limit")}`],
    ["Fallback", view.fallback ? "only when all others are out" : "no"],
    ["Enabled", overrides.enabled === false ? "no, set by an operator" : "yes"],
    ["Lease", leased ? "none: it stands in the configuration" : `${view.ttl_secs} s, ${view.expires_in_secs} s left`],
    ["Heartbeat", leased ? "none needed" : `${duration(view.last_heartbeat_secs)} ago`],
    ["Registered", `${duration(view.registered_secs)} ago`],
    ["Incarnation", String(view.incarnation)],
    ["From", view.source],
    ["Requests", view.requests_total.toLocaleString("en")],
    ["Failures", view.failures_total.toLocaleString("en")],
    ...Object.entries(reported).map(([name, value]) => [`Reports ${name.replace("_", " ")}`, String(value)]),
    ...Object.entries(view.metadata),
  ];
}

const isOff = (view) => view.overrides?.enabled === false;

/** Two stand beside each other where both are short. */
function pair([name, value]) {
  const isWide = value.length > 12 || name.length > 11;
  return el("div", { class: isWide ? "wide" : null }, el("dt", {}, name), el("dd", {}, value));
}

export class Detail {
  constructor(fleet, { closed, role }) {
    Object.assign(this, { fleet, closed, role });
    this.id = null;
    this.element = at("detail");
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  /** Shows that one. */
  open(id) {
    this.id = id;
    this.signature = "";
    this.build();
    this.element.hidden = false;
    this.draw();
    this.element.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), LOOK);
    this.look();
  }

  close() {
    const { id } = this;
    if (id === null) return;
    this.id = null;
    clearInterval(this.timer);
    this.element.hidden = true;
    this.closed(id);
  }

  async look() {
    const { id, fleet } = this;
    if (document.hidden || document.body.classList.contains("lost")) return;
    try {
      const view = await api.backend(id);
      const known = fleet.backends.get(id);
      if (!view || !known || this.id !== id || view.incarnation !== known.view.incarnation) return;
      Object.assign(known.view, view);
      if (!view.overrides) known.view.overrides = undefined;
      fleet.changed();
    } catch {
      // The stream says so where the server can't be reached.
    }
  }

  build() {
    const plot = (title) => {
      const value = el("b");
      const canvas = el("canvas", { "aria-hidden": "true" });
      return { value, canvas, element: el("div", { class: "plot" }, `${title} `, value, canvas) };
    };
    this.word = el("p");
    this.why = el("p", { class: "why muted" });
    this.plots = { rate: plot("Requests"), errors: plot("Failures"), latency: plot("Latency"), load: plot("In flight") };
    this.actions = el("div", { class: "actions" });
    this.buildActions();
    this.pairs = el("dl", { class: "pairs" });
    this.element.replaceChildren(
      el("div", { class: "card-head" }, el("h2", { id: "detail-title" }, this.id), el("button", { type: "button", class: "quiet", onclick: () => this.close() }, "Close")),
      this.word,
      this.why,
      el("div", { class: "plots" }, ...Object.values(this.plots).map(({ element }) => element)),
      this.actions,
      this.pairs,
    );
  }

  draw() {
    if (this.id === null) return;
    const backend = this.fleet.backends.get(this.id);
    if (backend) this.drawBackend(backend);
    else this.drawGone();
  }

  drawGone() {
    this.word.replaceChildren(el("span", { class: "word off" }, "gone"));
    say(this.why, "It isn't registered any more.");
    this.actions.hidden = true;
    this.signature = "";
  }

  drawBackend(backend) {
    const { view, now, history } = backend;
    const { rate, errors, latency: slow, load } = this.plots;
    const signature = JSON.stringify(view);
    if (signature !== this.signature) {
      this.signature = signature;
      this.word.replaceChildren(stateWord(view.state));
      say(this.why, view.reason);
      this.why.hidden = view.state === "routable" && view.reason === "takes traffic";
      this.pairs.replaceChildren(...pairs(view).map(pair));
    }
    this.actions.hidden = false;
    this.drawActions(view);
    say(rate.value, `${perSec(now[0])}/s`);
    say(errors.value, `${perSec(now[1])}/s`);
    say(slow.value, latency(now[2]));
    say(load.value, inFlight(backend));
    spark(load.canvas, history, "inFlight", { least: Math.min(view.hard_limit || 5, 5), limit: view.soft_limit });
    spark(rate.canvas, history, "rate");
    spark(errors.canvas, history, "errors", { tone: "bad" });
    spark(slow.canvas, history, "latency", { least: 0.5, tone: "muted" });
  }

  /** Made once and changed in place: a button that is replaced under a finger isn't pressed. */
  buildActions() {
    const view = () => this.fleet.backends.get(this.id)?.view;
    const button = (act) => el("button", { type: "button", onclick: () => view() && act(view()) });
    const weight = el("input", { type: "number", min: 0, max: 1000, step: 1 });
    const parts = {
      drain: button(askDrain),
      enable: button((shown) => askEnabled(shown, isOff(shown))),
      weight: el("label", {}, "Weight", weight),
      set: button((shown) => weight.reportValidity() && askWeight(shown, Number(weight.value))),
      own: button((shown) => askWeight(shown, null)),
      why: el("p", { class: "muted" }),
    };
    say(parts.drain, "Drain…");
    say(parts.set, "Set…");
    say(parts.own, "Its own…");
    this.parts = { ...parts, input: weight };
    this.weight = null;
    this.actions.replaceChildren(...Object.values(parts));
  }

  drawActions(view) {
    const { drain, enable, set, own, why, input } = this.parts;
    const role = this.role();
    const [drains, operates] = [may(role, "register"), may(role, "operate")];
    const isStatic = view.ttl_secs === null;
    drain.disabled = !drains || isStatic || view.state === "draining";
    say(enable, isOff(view) ? "Enable…" : "Disable…");
    enable.disabled = set.disabled = input.disabled = own.disabled = !operates;
    own.hidden = view.overrides?.weight === undefined;
    // What somebody is typing stays.
    const isTyped = this.weight !== null && input.value !== String(this.weight);
    if (!isTyped && this.weight !== view.weight) input.value = view.weight;
    this.weight = view.weight;
    const reasons = [
      !drains && `Your token has the role ${role}: it may look and change nothing. Draining takes register, the rest operate.`,
      drains && !operates && `Your token has the role ${role}: it may drain. Disabling and weights take operate.`,
      isStatic && "It stands in the configuration file, so it can be disabled here, and removed only there.",
    ];
    say(why, reasons.filter(Boolean).join(" "));
    why.hidden = why.textContent === "";
  }
}
