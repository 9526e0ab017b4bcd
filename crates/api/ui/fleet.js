// What is known of the backends: the listing, kept up to date by events, and the figures of the last minutes.

import * as api from "./api.js";
import { History, OF_BACKEND, OF_TOTALS } from "./history.js";

/** Events that the page keeps. */
const KEPT = 500;
/** More changed ones than this at once are read as a listing. */
const SINGLY = 64;
/** Changes are gathered for so long before they are looked up, in ms. */
const GATHER = 120;
/** A listing is read no more often than this, in ms. */
const LISTING_PAUSE = 1_500;
/** What couldn't be looked up is looked up again after so long, in ms. */
const AGAIN = 3_000;

/** Figures of backends that are not known yet: as many as the server tells of. */
const EARLY = 5_000;

/** Those events after which more than the state may be otherwise. */
const LOOK_UP = new Set(["registered", "renewed", "changed", "readmitted", "draining", "suspected", "trial", "unhealthy", "ejected"]);

export class Fleet {
  constructor(changed) {
    this.changed = changed;
    this.generation = 0;
    this.forget();
  }

  /** As before the first look. */
  forget() {
    /** What was asked before is not for whoever asks now. */
    this.generation++;
    /** Requests under way, and by id the incarnation of those that went meanwhile: an answer may be of before. */
    this.asking = 0;
    this.gone = new Map();
    /** The latest figures of those that are still to be looked up: they are told again only once they change. */
    this.early = new Map();
    this.backends = new Map();
    this.events = [];
    this.totals = null;
    this.server = null;
    this.partial = false;
    this.history = new History(["rate", "errors", "latency", "inFlight"], OF_TOTALS);
    this.loaded = false;
    this.lastId = null;
    this.pending = new Set();
    this.listedAt = 0;
    /** Counts what moves rows about, and what only changes figures in them. */
    this.layout = 0;
    this.figures = 0;
    this.news = 0;
    clearTimeout(this.timer);
    this.timer = null;
  }

  /** Asks, and takes the answer in, unless everything was forgotten meanwhile: the answer may be for another token. */
  async ask(request, take) {
    const { generation } = this;
    const isCurrent = () => generation === this.generation;
    this.asking++;
    try {
      const answer = await request();
      if (isCurrent()) take(answer);
    } catch (error) {
      if (isCurrent()) throw error;
    } finally {
      if (isCurrent() && --this.asking === 0) this.gone.clear();
    }
  }

  /**
   * Reads everything, and gives the id of the event to go on after: one from before, so that nothing is missed. `null` if
   * everything was forgotten meanwhile.
   */
  async load() {
    const { generation } = this;
    const page = await api.events(200);
    if (generation !== this.generation) return null;
    await this.list();
    if (generation !== this.generation) return null;
    this.events = page.events.reverse();
    this.lastId = page.last_event_id;
    this.loaded = true;
    this.news++;
    this.changed();
    return this.lastId;
  }

  list() {
    this.listedAt = Date.now();
    return this.ask(api.backends, (listed) => {
      const before = this.backends;
      this.backends = new Map();
      for (const view of listed) this.put(view, before.get(view.id));
      this.layout++;
      this.changed();
    });
  }

  put(view, before = this.backends.get(view.id)) {
    if (view.incarnation <= this.gone.get(view.id)) return;
    const same = before && before.view.incarnation === view.incarnation;
    const early = this.early.get(view.id);
    if (!same) this.early.delete(view.id);
    this.backends.set(view.id, {
      view,
      history: same ? before.history : new History(["rate", "errors", "latency", "inFlight"], OF_BACKEND),
      now: same ? before.now : (early ?? [0, 0, view.latency_ms, view.in_flight]),
      /** Whether figures under its id are another's by now, who is still to be looked up. */
      succeeded: same && before.succeeded,
      words: null,
      key: same ? before.key : view.id.replace(/\d+/g, (digits) => digits.padStart(12, "0")),
    });
  }

  /** Takes an event in. */
  note(event, id) {
    this.lastId = id;
    this.events.unshift(event);
    if (this.events.length > KEPT) this.events.length = KEPT;
    // Who goes while events are missed takes none of its figures along.
    if (event.type === "reset") this.early.clear();
    this.news++;
    const known = this.backends.get(event.backend);
    // What is told of an incarnation that has been taken over from is not about the one that is here.
    if (!known || event.incarnation >= known.view.incarnation) {
      if (event.state === null) {
        this.backends.delete(event.backend);
        this.early.delete(event.backend);
        if (this.asking > 0) this.gone.set(event.backend, event.incarnation);
      } else {
        if (known?.view.incarnation === event.incarnation) {
          Object.assign(known.view, { state: event.state, reason: event.reason });
        } else if (known) {
          known.succeeded = true;
        }
        if (LOOK_UP.has(event.type)) this.lookUp(event.backend);
      }
      this.layout++;
    }
    this.changed();
  }

  lookUp(id) {
    this.pending.add(id);
    this.timer ??= setTimeout(() => this.lookUpPending(), GATHER);
  }

  async lookUpPending() {
    const ids = [...this.pending];
    const pause = this.listedAt + LISTING_PAUSE - Date.now();
    if (ids.length > SINGLY && pause > 0) {
      this.timer = setTimeout(() => this.lookUpPending(), pause);
      return;
    }
    this.pending.clear();
    this.timer = null;
    try {
      if (ids.length > SINGLY) {
        await this.list();
      } else {
        // A browser sends six at a time.
        await this.ask(
          () => Promise.all(ids.map((id) => api.backend(id))),
          (views) => {
            for (const view of views) if (view) this.put(view);
            this.layout++;
            this.changed();
          },
        );
      }
    } catch {
      // The connection is lost: the stream goes on after the last event, so nobody else asks for these. Where a token is no
      // more the stream is told so, and all is forgotten.
      for (const id of ids) this.pending.add(id);
      this.timer ??= setTimeout(() => this.lookUpPending(), AGAIN);
    }
  }

  /** Takes the figures of a second in. */
  stats(frame) {
    // Who goes as its figures are told leaves some behind. What came with the latest ones may be told of just now.
    if (this.pending.size === 0 && this.asking === 0) this.early.clear();
    for (const [id, now] of Object.entries(frame.backends)) {
      const known = this.backends.get(id);
      if (known && !known.succeeded) known.now = now;
      else if (this.early.size < EARLY || this.early.has(id)) this.early.set(id, now);
    }
    for (const { now, history } of this.backends.values()) history.push(now[0], now[1], now[2] ?? NaN, now[3]);
    const { totals } = frame;
    this.history.push(totals.requests_per_sec, totals.failures_per_sec, totals.latency_ms ?? NaN, totals.in_flight);
    this.totals = totals;
    this.server = frame.server;
    this.partial = frame.partial;
    this.figures++;
    this.changed();
  }

  /** The names of the apps that have a backend. */
  apps() {
    return [...new Set([...this.backends.values()].map(({ view }) => view.app))].sort();
  }
}
