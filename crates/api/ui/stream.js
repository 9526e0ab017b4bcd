// Server-sent events by fetch: EventSource can't show a token, and a token has no place in an address.

import { headers, refusal, Refused } from "./api.js";

/** The shortest and the longest pause before the next attempt, in ms. */
const SHORTEST = 500;
const LONGEST = 15_000;
/** Figures come once a second; whoever says nothing for so long is gone, even if the network doesn't say so. */
const SILENCE = 12_000;

/** Cuts a stream of text into its events, as far as the specification of server-sent events is used here. */
export class Parser {
  constructor(onEvent, onRetry) {
    this.onEvent = onEvent;
    this.onRetry = onRetry;
    this.rest = "";
    this.lastId = null;
  }

  take(text) {
    this.rest += text;
    let end;
    while ((end = this.rest.indexOf("\n\n")) >= 0) {
      this.block(this.rest.slice(0, end));
      this.rest = this.rest.slice(end + 2);
    }
  }

  block(text) {
    let name = "message";
    const data = [];
    for (const line of text.split("\n")) {
      if (line.startsWith(":")) continue;
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") name = value;
      else if (field === "data") data.push(value);
      else if (field === "id") this.lastId = value;
      else if (field === "retry" && /^\d+$/.test(value)) this.onRetry(Number(value));
    }
    if (data.length > 0) this.onEvent(name, JSON.parse(data.join("\n")));
  }
}

/**
 * Follows the events for ever. Tells `line("live")`, `line("lost", {since, next})` and `line("refused", {error})`;
 * `begin` is asked before each attempt for the id to go on after.
 */
export class Stream {
  constructor({ begin, event, line }) {
    Object.assign(this, { begin, event, line });
    this.pause = SHORTEST;
    this.since = null;
    this.abort = null;
    this.generation = 0;
  }

  /** Begins anew, with whatever token there is now. */
  start() {
    this.generation++;
    this.abort?.abort();
    clearTimeout(this.timer);
    this.pause = SHORTEST;
    this.run(this.generation);
  }

  /** Follows no more, until it is started again. */
  stop() {
    this.generation++;
    this.abort?.abort();
    clearTimeout(this.timer);
  }

  async run(generation) {
    const is = () => generation === this.generation;
    let error = null;
    try {
      await this.follow(is);
    } catch (caught) {
      error = caught;
    }
    if (!is()) return;
    if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
      this.line("refused", { error });
      return;
    }
    this.since ??= new Date();
    // Not all at once after a restart.
    const pause = this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(this.pause * 2, LONGEST);
    this.line("lost", { since: this.since, next: new Date(Date.now() + pause), error });
    this.timer = setTimeout(() => this.run(generation), pause);
  }

  async follow(is) {
    const abort = new AbortController();
    this.abort = abort;
    let watch;
    try {
      // Takes as long as it takes: each of its requests has a limit of its own.
      const id = await this.begin();
      if (!is()) return;
      watch = setTimeout(() => abort.abort(), SILENCE);
      const more = id ? { "Last-Event-ID": id } : {};
      const response = await fetch("/api/v1/events?stats=true", {
        headers: headers({ Accept: "text/event-stream", ...more }),
        cache: "no-store",
        redirect: "error",
        signal: abort.signal,
      });
      if (!response.ok) throw await refusal(response);
      const parser = new Parser(
        (name, data) => is() && this.event(name, data, parser.lastId),
        (retry) => (this.pause = Math.max(Math.min(retry / 2, LONGEST), 150)),
      );
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || !is()) return;
        clearTimeout(watch);
        watch = setTimeout(() => abort.abort(), SILENCE);
        parser.take(value);
        this.since = null;
        this.line("live", {});
      }
    } finally {
      clearTimeout(watch);
      abort.abort();
    }
  }
}
