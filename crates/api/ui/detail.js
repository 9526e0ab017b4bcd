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

/** Two stand beside each other where both are short. */
function pair([name, value]) {
  const isWide = value.length > 14 || name.length > 11;
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
    this.actions.replaceChildren();
    this.signature = "";
  }

  drawBackend(backend) {
    const { view, now, history } = backend;
    const { rate, errors, latency: slow, load } = this.plots;
    const signature = JSON.stringify([view, this.role()]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.word.replaceChildren(stateWord(view.state));
      say(this.why, view.reason);
      this.why.hidden = view.state === "routable" && view.reason === "takes traffic";
      this.pairs.replaceChildren(...pairs(view).map(pair));
      this.drawActions(view);
    }
    say(rate.value, `${perSec(now[0])}/s`);
    say(errors.value, `${perSec(now[1])}/s`);
    say(slow.value, latency(now[2]));
    say(load.value, inFlight(backend));
    spark(load.canvas, history, "inFlight", { least: Math.min(view.hard_limit || 5, 5), limit: view.soft_limit });
    spark(rate.canvas, history, "rate");
    spark(errors.canvas, history, "errors", { tone: "bad" });
    spark(slow.canvas, history, "latency", { least: 0.5, tone: "muted" });
  }

  drawActions(view) {
    // Whoever is typing a weight goes on typing.
    const typed = this.actions.querySelector("input");
    const kept = typed === document.activeElement ? typed.value : null;
    const role = this.role();
    const [drains, operates] = [may(role, "register"), may(role, "operate")];
    const isOff = view.overrides?.enabled === false;
    const isStatic = view.ttl_secs === null;
    const weight = el("input", { type: "number", min: 0, max: 1000, step: 1, value: kept ?? view.weight, disabled: !operates });
    const button = (words, able, act, tone = "") => el("button", { type: "button", class: tone, disabled: !able, onclick: act }, words);
    const reasons = [
      !drains && `Your token has the role ${role}: it may look and change nothing. Draining takes register, the rest operate.`,
      drains && !operates && `Your token has the role ${role}: it may drain. Disabling and weights take operate.`,
      isStatic && "It stands in the configuration file, so it can be disabled here, and removed only there.",
    ].filter(Boolean);
    const parts = [
      button("Drain…", drains && !isStatic && view.state !== "draining", () => askDrain(view)),
      button(isOff ? "Enable…" : "Disable…", operates, () => askEnabled(view, isOff)),
      el("label", {}, "Weight", weight),
      button("Set…", operates, () => weight.reportValidity() && askWeight(view, Number(weight.value))),
      view.overrides?.weight !== undefined ? button("Its own…", operates, () => askWeight(view, null)) : null,
      ...reasons.map((reason) => el("p", { class: "muted" }, reason)),
    ];
    this.actions.replaceChildren(...parts.filter(Boolean));
    if (kept !== null) weight.focus();
  }
}
