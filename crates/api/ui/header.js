// The server itself, and the totals.

import { at, el, say } from "./dom.js";
import { spark } from "./spark.js";
import { clock, count, duration, latency, many, perSec, STATES } from "./words.js";

export class Header {
  constructor(fleet) {
    this.fleet = fleet;
    this.seen = -1;
    this.tiles = {};
    const tile = (name, title, plot) => {
      const number = el("span", {}, "–");
      const unit = el("span", { class: "unit" });
      const beside = el("p", { class: "beside" }, "\u00a0");
      const canvas = plot ? el("canvas", { "aria-hidden": "true" }) : null;
      this.tiles[name] = { number, unit, beside, canvas };
      return el("div", { class: "total" }, el("h3", {}, title), el("p", { class: "number" }, number, " ", unit), beside, canvas);
    };
    at("totals").append(
      tile("rate", "Requests", true),
      tile("errors", "Failures", true),
      tile("latency", "Latency", true),
      tile("inFlight", "In flight", true),
      tile("backends", "Backends", false),
    );
    this.tiles.backends.states = el("p", { class: "beside states" });
    this.tiles.backends.beside.after(this.tiles.backends.states);
  }

  /** What the server says of itself when it is first reached. */
  hello({ version }) {
    say(at("version"), version);
  }

  /** Whether it can be reached. */
  line(kind, { since, next } = {}) {
    const line = at("line");
    if (kind === "live" && line.dataset.line === kind) return;
    line.dataset.line = kind;
    document.body.classList.toggle("lost", kind === "lost");
    const words = {
      begin: "connecting",
      live: "live",
      hidden: "resting while this tab is out of sight",
      refused: "not served",
      lost: since && `no connection since ${clock(since)}, next try at ${next && clock(next)}`,
    };
    say(line, words[kind] ?? kind);
  }

  draw() {
    const { fleet } = this;
    const stamp = fleet.figures * 1e6 + fleet.layout;
    at("totals").hidden = fleet.backends.size === 0;
    if (!fleet.server || stamp === this.seen) return;
    this.seen = stamp;
    const { server, totals, history } = fleet;
    say(at("uptime"), duration(server.uptime_secs));
    say(at("store"), server.degraded ? `${server.store}, degraded` : server.store);
    at("store").className = server.degraded ? "bad" : "";
    const alarm = [
      server.degraded && `The store (${server.store}) can't be written to${server.degraded === true ? "" : `: ${server.degraded}`}. Traffic goes on; what registers now may be forgotten by a restart.`,
      server.phase === "draining" && "This server is draining: what is in flight ends, nothing new is taken.",
      fleet.partial && "There are more backends than are shown here; the listing by the API has all of them.",
    ].filter(Boolean);
    at("alarm").hidden = alarm.length === 0;
    say(at("alarm"), alarm.join(" "));
    if (at("totals").hidden) return;
    const { rate, errors, latency: slow, inFlight, backends } = this.tiles;
    say(rate.number, perSec(totals.requests_per_sec));
    say(rate.unit, "/s");
    say(rate.beside, "last two minutes");
    say(errors.number, perSec(totals.failures_per_sec));
    say(errors.unit, "/s");
    errors.number.className = totals.failures_per_sec > 0 ? "bad" : "";
    const share = totals.requests_per_sec > 0 ? (100 * totals.failures_per_sec) / totals.requests_per_sec : 0;
    say(errors.beside, totals.requests_per_sec > 0 ? `${share > 0 && share < 0.1 ? "<0.1" : share.toFixed(share < 10 ? 1 : 0)} % of requests` : "no requests");
    const percentiles = totals.p99_ms !== undefined && totals.p99_ms !== null;
    const [shown, unit] = latency(percentiles ? totals.p50_ms : totals.latency_ms).split(" ");
    say(slow.number, shown);
    say(slow.unit, `${unit ?? ""}${percentiles ? ", median" : ""}`);
    say(slow.beside, percentiles ? `99 % within ${latency(totals.p99_ms)}` : "mean to first byte");
    say(inFlight.number, count(totals.in_flight));
    say(inFlight.unit, totals.in_flight === 1 ? "request" : "requests");
    this.limits();
    this.states(backends);
    spark(rate.canvas, history, "rate", { least: 5 });
    spark(errors.canvas, history, "errors", { least: 1, tone: "bad" });
    spark(slow.canvas, history, "latency", { least: 1, tone: "muted" });
    spark(inFlight.canvas, history, "inFlight", { least: 5 });
  }

  limits() {
    let [soft, hard] = [0, 0];
    for (const { view } of this.fleet.backends.values()) {
      if (view.state !== "routable") continue;
      soft += view.soft_limit || NaN;
      hard += view.hard_limit || NaN;
    }
    const limit = (value) => (Number.isNaN(value) ? "none" : count(value));
    say(this.tiles.inFlight.beside, `soft ${limit(soft)}, hard ${limit(hard)}`);
  }

  states(tile) {
    const [apps, regions, states] = [new Set(), new Set(), new Map()];
    const { size } = this.fleet.backends;
    for (const { view } of this.fleet.backends.values()) {
      states.set(view.state, (states.get(view.state) ?? 0) + 1);
      apps.add(view.app);
      regions.add(view.region);
    }
    const well = ["routable", "trial", "suspect"].reduce((sum, state) => sum + (states.get(state) ?? 0), 0);
    say(tile.number, count(well));
    say(tile.unit, `of ${count(size)}`);
    tile.number.className = well < size ? "warn" : "";
    say(tile.beside, "take traffic");
    const others = Object.entries(STATES).filter(([state]) => state !== "routable" && states.has(state));
    const told = others.map(([state, { word }]) => `${count(states.get(state))} ${word}`);
    say(tile.states, told.join(", ") || `${many(apps.size, "app", "apps")}, ${many(regions.size, "region", "regions")}`);
  }
}
