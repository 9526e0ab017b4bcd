// The reference of the API: what /openapi.json says, for people.

import { at, el, say } from "./dom.js";
import { operation } from "./operation.js";
import { members, prose } from "./schema.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** Every operation with its place, in the order of the server. */
function operations(document) {
  const all = Object.entries(document.paths).flatMap(([path, of]) =>
    METHODS.filter((method) => of[method]).map((method) => ({ path, method, about: of[method] })),
  );
  return all.sort((one, other) => one.about["x-order"] - other.about["x-order"]);
}

function tagged(document, tag) {
  const those = operations(document).filter(({ about }) => about.tags.includes(tag.name));
  const section = el("section", {}, el("h2", { id: anchor(tag.name) }, tag.name), el("p", { class: "muted" }, tag.description));
  section.append(...those.map((one) => operation(document, one)));
  return { section, those };
}

const anchor = (name) => `tag-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;

function problems(document) {
  const rows = document["x-problems"].map(({ name, status, title, advice }) =>
    el("tr", { id: `problem-${name}`, "data-words": `${name} ${status} ${title}`.toLowerCase() },
      el("td", {}, el("code", {}, name), el("span", { class: "rules" }, String(status))),
      el("td", {}, el("strong", {}, `${title}. `), ...prose(advice, true))));
  return el("section", {},
    el("h2", { id: "problems" }, "Problems"),
    ...prose("What follows `#problem-` in the `type` of a refusal, and what to do about it."),
    el("div", { class: "card" },
      el("table", { class: "members" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Type"), el("th", { scope: "col" }, "What to do"))),
        el("tbody", {}, ...rows))));
}

function schemas(document) {
  const objects = Object.entries(document.components.schemas).filter(([, schema]) => schema.properties);
  return el("section", {},
    el("h2", { id: "schemas" }, "Objects"),
    ...objects.map(([name, schema]) =>
      el("details", { class: "operation", id: `schema-${name}`, "data-words": name.toLowerCase() },
        el("summary", {}, el("h3", {}, name)),
        el("div", { class: "body" }, ...prose(schema.description ?? ""), members(document, schema)))));
}

function contents(document, parts) {
  const link = (href, ...words) => el("a", { href }, ...words);
  const nodes = parts.flatMap(({ tag, those }) => [
    el("h2", {}, tag.name),
    ...those.map(({ about }) => link(`#${about.operationId}`, about.summary)),
  ]);
  at("contents").replaceChildren(...nodes, el("h2", {}, "Besides"), link("#conventions", "Conventions"), link("#problems", "Problems"), link("#schemas", "Objects"));
}

/** What the address names, if there is such a thing. */
function named() {
  try {
    return document.getElementById(decodeURIComponent(location.hash.slice(1)));
  } catch {
    // Whoever follows a mangled link is shown the page from its beginning.
    return null;
  }
}

/** Opens what the address names, so that a link to a problem or an operation shows it, also one that the search has hidden. */
function reveal() {
  const found = named();
  if (!found) return;
  if (found.closest("[hidden]")) {
    at("search").value = "";
    find("");
  }
  for (let one = found; one; one = one.parentElement) if (one instanceof HTMLDetailsElement) one.open = true;
  found.scrollIntoView();
  found.querySelector("summary")?.focus({ preventScroll: true });
}

function find(text) {
  const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  for (const one of document.querySelectorAll("[data-words]")) {
    one.hidden = !words.every((word) => one.dataset.words.includes(word));
  }
}

function listen() {
  const search = at("search");
  search.addEventListener("input", () => find(search.value));
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      find("");
    }
  });
  at("with-token").addEventListener("change", ({ target }) => {
    for (const one of document.querySelectorAll("[data-token]")) say(one, target.checked ? one.dataset.token : one.dataset.plain);
  });
  addEventListener("hashchange", reveal);
}

async function begin() {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const described = await response.json();
  say(at("version"), described.info.version);
  const parts = described.tags.map((tag) => ({ tag, ...tagged(described, tag) }));
  contents(described, parts);
  at("reference").replaceChildren(
    el("section", { class: "card" }, el("h2", { id: "conventions" }, described.info.summary), ...prose(described.info.description)),
    ...parts.map(({ section }) => section),
    problems(described),
    schemas(described),
  );
  listen();
  reveal();
}

begin().catch((error) => {
  at("alarm").hidden = false;
  say(at("alarm"), `The description of the API can't be shown: ${error.message}`);
});
