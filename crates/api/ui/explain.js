// Which backend would be picked, and why not the others.

import * as api from "./api.js";
import { explainRefusal } from "./actions.js";
import { at, choices, el } from "./dom.js";

const FIELDS = [
  ["client_ip", "Client's address", "such as 203.0.113.7"],
  ["country", "Country", "such as DE"],
  ["region", "Region", "such as eu"],
  ["hash", "Value that is hashed", "if the app hashes"],
  ["sticky", "Value it is known by", "cookie or header"],
];

export class Explain {
  constructor(fleet) {
    this.fleet = fleet;
    this.app = el("select", { name: "app", required: true });
    at("explain").append(
      el("label", {}, "App", this.app),
      ...FIELDS.map(([name, label, hint]) => el("label", {}, label, el("input", { name, placeholder: hint, spellcheck: "false" }))),
      el("button", { class: "primary" }, "Explain"),
    );
    at("explain").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
  }

  draw() {
    if (!at("explain-more").open) return;
    choices(this.app, this.fleet.apps().map((app) => [app, app]));
  }

  async ask() {
    const query = Object.fromEntries([...new FormData(at("explain"))].filter(([, value]) => value !== ""));
    try {
      this.show(await api.explain(query));
    } catch (error) {
      at("explained").replaceChildren(el("p", { class: "answer bad" }, explainRefusal(error).replace(/^[^:]*/, "No answer")));
    }
  }

  show({ algorithm, picked, error, bound, ignores_health: ignoresHealth, tiers, candidates }) {
    const candidate = ({ id, picked: is, why, weight, effective_weight: effective, score }) =>
      el(
        "li",
        { class: is ? "picked" : null },
        el("b", {}, id),
        ` weight ${weight}${effective === weight ? "" : `, now ${Number(effective.toFixed(2))}`}${score === null ? "" : `, score ${Number(score.toFixed(3))}`}`,
        el("span", { class: "why" }, why),
      );
    at("explained").replaceChildren(
      el(
        "div",
        { class: "answer" },
        el("p", {}, picked ? el("span", {}, "Picked: ", el("b", {}, picked), ` by ${algorithm}`) : el("span", { class: "bad" }, `Nobody, by ${algorithm}: ${error ?? "no reason is told"}`)),
        bound ? el("p", {}, `The client is bound to ${bound}.`) : null,
        ignoresHealth ? el("p", { class: "warn" }, "So few are well that health is ignored.") : null,
        el("h3", {}, "Tiers"),
        el("ul", {}, ...tiers.map(({ tier, name, candidates: size, why }) => el("li", {}, `${tier}: ${name}, ${size} `, el("span", { class: "why" }, why)))),
        el("h3", {}, "Backends"),
        el("ul", {}, ...candidates.slice(0, 100).map(candidate)),
        candidates.length > 100 ? el("p", { class: "muted" }, `and ${candidates.length - 100} more`) : null,
      ),
    );
  }
}
