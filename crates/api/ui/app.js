// Joins the parts: one stream of events and figures in, one drawing a frame out.

import { Columns } from "./columns.js";
import { Detail } from "./detail.js";
import { at, onFrame } from "./dom.js";
import { Empty } from "./empty.js";
import { Explain } from "./explain.js";
import { Fleet } from "./fleet.js";
import { Header } from "./header.js";
import { Log } from "./log.js";
import { Session } from "./session.js";
import { onColours, resized } from "./spark.js";
import { Stream } from "./stream.js";

/** A tab that is out of sight for so long lets go of its connection, in ms: a browser has six for a server. */
const REST = 60_000;

const draw = onFrame(() => {
  for (const part of parts) part.draw();
});

const fleet = new Fleet(draw);
const header = new Header(fleet);
const session = new Session(() => {
  fleet.forget();
  detail.close();
  at("empty").replaceChildren();
  draw();
  stream.start();
});
const open = (id) => {
  columns.selected = id;
  detail.open(id);
  log.about(id);
  draw();
};
const columns = new Columns(fleet, open);
const detail = new Detail(fleet, {
  role: () => session.role,
  closed(id) {
    columns.selected = null;
    log.about(null);
    draw();
    if (fleet.backends.has(id)) columns.go(id);
  },
});
const log = new Log(fleet, open);
const parts = [header, columns, detail, log, new Explain(fleet), new Empty(fleet)];

const EVENTS = {
  hello(data) {
    header.hello(data);
    session.hello(data);
    draw();
  },
  stats: (data) => fleet.stats(data),
  reset(data, id) {
    fleet.note(data, id);
    // What was missed is in the listing.
    fleet.list().catch(() => {
      fleet.loaded = false;
      stream.start();
    });
  },
};

const stream = new Stream({
  begin: () => (fleet.loaded ? fleet.lastId : fleet.load()),
  event(name, data, id) {
    const take = EVENTS[name];
    if (take) take(data, id);
    else fleet.note(data, id);
  },
  line(kind, about) {
    header.line(kind, about);
    if (kind === "refused") {
      fleet.forget();
      detail.close();
      session.refused(about.error);
      draw();
    }
  },
});

addEventListener("scroll", () => columns.scrolled(), { capture: true, passive: true });
addEventListener("resize", () => {
  resized();
  header.seen = -1;
  draw();
});
onColours(() => {
  header.seen = -1;
  draw();
});
at("explain-more").addEventListener("toggle", draw);

let rest = null;
let rests = false;
document.addEventListener("visibilitychange", () => {
  clearTimeout(rest);
  if (document.hidden) {
    rest = setTimeout(() => {
      rests = true;
      stream.stop();
      header.line("hidden");
    }, REST);
  } else if (rests) {
    rests = false;
    stream.start();
  }
});

addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest?.("input, select, textarea, dialog")) {
    event.preventDefault();
    at("search").focus();
  }
});

stream.start();
