// The regions side by side, each with its backends. Of a long column only those rows exist that can be seen.

import { at, choices, el, mark, say, symbol } from "./dom.js";
import { HEIGHT, load, Row } from "./row.js";
import { count, many, perSec, STATES, stateOf } from "./words.js";

/** Rows that are there before they are scrolled to. */
const AHEAD = 2;
/** Rows that are filled anew in one frame. The others come with the next: none takes longer than a frame may. */
const A_FRAME = 20;

/** By names, of which numbers are compared as such. */
const byName = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

const ORDERS = {
  trouble: (a, b) => stateOf(a.view.state).rank - stateOf(b.view.state).rank,
  name: () => 0,
  rate: (a, b) => b.now[0] - a.now[0],
  latency: (a, b) => (b.now[2] ?? 0) - (a.now[2] ?? 0),
  load: (a, b) => load(b).share - load(a).share,
};

/** One region. */
class Column {
  constructor(region, open) {
    this.open = open;
    this.region = region;
    this.rows = new Map();
    this.spare = [];
    this.items = [];
    this.title = el("h3", { id: `region-${region}` }, region);
    this.told = el("span", { class: "muted" });
    this.rate = el("span", { class: "rate" });
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    this.list = el("ul", { class: "rows", "aria-labelledby": `region-${region}` });
    this.element = el(
      "section",
      { class: "column", "aria-labelledby": `region-${region}` },
      el("div", { class: "column-head" }, el("div", { class: "words" }, this.title, this.told, this.rate), this.strip),
      this.list,
    );
  }

  arrange(items) {
    this.items = items;
    this.list.style.height = `${items.length * HEIGHT}px`;
    const states = new Map();
    for (const { view } of items) states.set(view.state, (states.get(view.state) ?? 0) + 1);
    const well = items.filter(({ view }) => view.healthy ?? view.state === "routable").length;
    say(this.told, well === items.length ? many(well, "takes traffic", "take traffic") : `${count(well)} of ${count(items.length)} take traffic`);
    const parts = Object.keys(STATES).filter((state) => states.has(state)).reverse();
    this.strip.replaceChildren(
      ...parts.map((state) => {
        const part = el("span", { class: stateOf(state).tone });
        part.style.flexGrow = String(states.get(state));
        return part;
      }),
    );
  }

  figures() {
    let rate = 0;
    for (const { now } of this.items) rate += now[0];
    say(this.rate, `${perSec(rate)}/s`);
  }

  /** Which rows can be seen. Asks the page for its layout, so all columns are asked before any is drawn. */
  look() {
    const { top } = this.list.getBoundingClientRect();
    this.from = Math.max(0, Math.floor(-top / HEIGHT) - AHEAD);
    this.to = Math.min(this.items.length, Math.ceil((innerHeight - top) / HEIGHT) + AHEAD);
  }

  draw({ withApp, selected, focus, fleet }, budget) {
    const wanted = new Map();
    for (let index = this.from; index < this.to; index++) wanted.set(this.items[index].view.id, index);
    for (const [id, row] of this.rows) {
      if (wanted.has(id) || row.button === document.activeElement) continue;
      this.rows.delete(id);
      row.item.remove();
      this.spare.push(row);
    }
    for (const [id, index] of wanted) {
      let row = this.rows.get(id);
      if (!row) {
        if (budget.left-- <= 0) continue;
        row = this.spare.pop() ?? new Row(this.open);
        this.rows.set(id, row);
        this.list.append(row.item);
      }
      row.place(index, this.items.length);
      row.show(this.items[index], withApp, id === selected, fleet.figures);
      mark(row.button, "tabindex", id === focus ? 0 : -1);
    }
  }
}

export class Columns {
  constructor(fleet, open) {
    this.fleet = fleet;
    this.open = open;
    this.columns = new Map();
    this.selected = null;
    /** The row that Tab leads to. */
    this.focus = null;
    this.arranged = "";
    for (const id of ["app", "state", "order", "search"]) at(id).addEventListener("input", () => fleet.changed());
    at("clear").addEventListener("click", () => {
      for (const id of ["app", "state", "search"]) at(id).value = "";
      fleet.changed();
    });
    at("columns").addEventListener("keydown", (event) => this.key(event));
    at("columns").addEventListener("focusin", (event) => {
      const id = event.target.closest("button.row")?.querySelector(".id")?.textContent;
      if (id && id !== this.focus) {
        this.focus = id;
        fleet.changed();
      }
    });
    choices(at("state"), [["", "all"], ...Object.entries(STATES).map(([state, { word }]) => [state, word])]);
  }

  /** Those that are asked for. */
  wanted() {
    const [app, state] = [at("app").value, at("state").value];
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...this.fleet.backends.values()];
    return all.filter((backend) => {
      const { view } = backend;
      if ((app && view.app !== app) || (state && view.state !== state)) return false;
      if (words.length === 0) return true;
      backend.words ??= [view.id, view.app, view.region, view.country, `${view.ip}:${view.port}`, view.protocol, ...Object.entries(view.metadata).flat()].join(" ").toLowerCase();
      return words.every((word) => backend.words.includes(word));
    });
  }

  arrange() {
    const { fleet } = this;
    const order = at("order").value;
    const moves = order === "trouble" || order === "name" ? "" : fleet.figures;
    const arranged = JSON.stringify([fleet.layout, at("app").value, at("state").value, at("search").value, order, moves]);
    if (arranged === this.arranged) return;
    this.arranged = arranged;
    const apps = fleet.apps();
    choices(at("app"), [["", apps.length === 1 ? apps[0] : "all"], ...(apps.length > 1 ? apps.map((app) => [app, app]) : [])]);
    this.withApp = apps.length > 1 && !at("app").value;
    const regions = new Map();
    const wanted = this.wanted();
    for (const backend of wanted) {
      const { region } = backend.view;
      if (!regions.has(region)) regions.set(region, []);
      regions.get(region).push(backend);
    }
    for (const [region, column] of this.columns) {
      if (regions.has(region)) continue;
      this.columns.delete(region);
      column.element.remove();
    }
    for (const region of [...regions.keys()].sort()) {
      let column = this.columns.get(region);
      if (!column) {
        column = new Column(region, this.open);
        this.columns.set(region, column);
      }
      const compare = ORDERS[order];
      column.arrange(regions.get(region).sort((a, b) => compare(a, b) || byName(a, b)));
    }
    const sorted = [...this.columns.values()].sort((a, b) => (a.region < b.region ? -1 : 1));
    const parent = at("columns");
    sorted.forEach((column, index) => {
      if (parent.children[index] !== column.element) parent.insertBefore(column.element, parent.children[index] ?? null);
    });
    const { size } = fleet.backends;
    say(at("shown"), wanted.length === size ? count(size) : `${count(wanted.length)} of ${count(size)}`);
    at("none").hidden = wanted.length > 0;
    this.sorted = sorted;
    if (!wanted.some(({ view }) => view.id === this.focus)) this.focus = sorted[0]?.items[0]?.view.id ?? null;
  }

  draw() {
    at("fleet").hidden = this.fleet.backends.size === 0;
    if (at("fleet").hidden) {
      // Nothing is left of those that somebody may not see any more.
      this.columns.clear();
      at("columns").replaceChildren();
      this.arranged = "";
      return;
    }
    this.arrange();
    for (const column of this.sorted) column.look();
    const budget = { left: A_FRAME };
    for (const column of this.sorted) {
      column.figures();
      column.draw(this, budget);
    }
    if (budget.left < 0) this.fleet.changed();
  }

  /** Arrows go from row to row and from column to column. */
  key(event) {
    const column = this.sorted?.findIndex(({ items }) => items.some(({ view }) => view.id === this.focus)) ?? -1;
    if (column < 0 || !event.target.closest("button.row")) return;
    const { items } = this.sorted[column];
    const index = items.findIndex(({ view }) => view.id === this.focus);
    const beside = (step) => this.sorted[column + step]?.items;
    const page = Math.max(1, Math.floor(innerHeight / HEIGHT) - 3);
    const goal = {
      ArrowDown: () => items[index + 1],
      ArrowUp: () => items[index - 1],
      PageDown: () => items[Math.min(index + page, items.length - 1)],
      PageUp: () => items[Math.max(index - page, 0)],
      Home: () => items[0],
      End: () => items.at(-1),
      ArrowLeft: () => beside(-1)?.[Math.min(index, beside(-1).length - 1)],
      ArrowRight: () => beside(1)?.[Math.min(index, beside(1).length - 1)],
    }[event.key]?.();
    if (!goal) return;
    event.preventDefault();
    this.go(goal.view.id);
  }

  /** Has that row in sight and in focus. */
  go(id) {
    this.focus = id;
    for (const column of this.sorted) {
      const index = column.items.findIndex(({ view }) => view.id === id);
      if (index < 0) continue;
      const { top } = column.list.getBoundingClientRect();
      const y = top + index * HEIGHT;
      const scroller = document.scrollingElement.scrollHeight > innerHeight ? document.scrollingElement : at("backends");
      const above = scroller === document.scrollingElement ? 70 : scroller.getBoundingClientRect().top + 70;
      if (y < above) scroller.scrollTop -= above - y;
      else if (y + HEIGHT > innerHeight - 20) scroller.scrollTop += y + HEIGHT - innerHeight + 20;
      for (const each of this.sorted) each.look();
      column.draw(this, { left: Infinity });
      column.rows.get(id)?.button.focus({ preventScroll: true });
    }
    this.fleet.changed();
  }

  /** Whether rows have to be exchanged after a scroll. */
  scrolled() {
    if (this.sorted && !at("fleet").hidden) this.fleet.changed();
  }
}

/** The word of a state with its symbol. */
export function stateWord(state) {
  const { word, tone } = stateOf(state);
  return el("span", { class: `word ${tone}` }, symbol(state), word);
}
