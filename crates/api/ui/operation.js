// One operation: what it takes, what it answers, and the line for a shell.

import { at, el, say } from "./dom.js";
import { members, named, parameters, prose } from "./schema.js";

const PLACES = [["path", "In the path"], ["query", "In the query"], ["header", "Headers"]];

/** A word of a shell, quoted where it has to be. */
const word = (text) => (/^[\w./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** What stands for a parameter in an example. */
function sample(document, { schema }) {
  const whole = schema.$ref ? document.components.schemas[named(schema)] : schema;
  return String(whole.examples?.[0] ?? whole.enum?.[0] ?? whole.default ?? "");
}

/** The line for a shell, with a token if it takes one. */
function curl(document, { path, method, about }, withToken) {
  const those = about.parameters ?? [];
  const placed = path.replaceAll(/\{(\w+)\}/g, (_, name) => sample(document, those.find((one) => one.name === name)));
  const asked = those.filter((one) => one.in === "query" && one.required).map((one) => `${one.name}=${encodeURIComponent(sample(document, one))}`);
  const words = ["curl"];
  if (method !== "get") words.push("-X", method.toUpperCase());
  words.push(word(`${location.origin}${placed}${asked.length > 0 ? `?${asked.join("&")}` : ""}`));
  if (withToken && about.security.length > 0) words.push("-H", `"Authorization: Bearer $TOKEN"`);
  const [media, body] = Object.entries(about.requestBody?.content ?? {}).find(([media]) => media === "application/json") ?? [];
  if (body && about.requestBody.required) {
    const [first] = Object.values(body.examples);
    words.push("-H", word(`Content-Type: ${media}`), "-d", word(JSON.stringify(Object.values(body.examples).find(({ summary }) => summary.startsWith("The first"))?.value ?? first.value)));
  }
  return words.join(" ");
}

/** A text to be taken along. Without the clipboard, which pages of plain http don't get, it is selected. */
function code(text, label, data = {}) {
  const pre = el("pre", { tabindex: "0", "aria-label": label, ...data }, text);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      say(at("told"), "Copied");
    } catch {
      getSelection().selectAllChildren(pre);
      say(at("told"), "Selected: copy it by Ctrl C");
    }
    setTimeout(() => say(at("told"), ""), 2500);
  };
  return el("div", { class: "code" }, pre, el("button", { type: "button", "aria-label": `Copy: ${label}`, onclick: copy }, "Copy"));
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** What is sent or answered of one media type. */
function content(document, about, media, { schema, example, examples }) {
  const parts = [schema.allOf?.[0] ?? schema].flat();
  const name = named(parts[0]);
  const nodes = [el("p", {}, el("code", {}, media), name ? ", " : null, name ? el("a", { href: `#schema-${name}` }, name) : null)];
  if (example !== undefined) nodes.push(code(shown(example), `An answer to ${about.operationId}`));
  for (const { summary, value } of Object.values(examples ?? {})) {
    nodes.push(el("h3", {}, summary), code(shown(value), summary));
  }
  return nodes;
}

function answer(document, about, status, response) {
  const isGood = status < "400";
  const own = Object.keys(response.headers).filter((name) => !["Cache-Control", "X-Content-Type-Options", "X-Request-Id"].includes(name));
  const text = isGood ? prose(response.description) : kinds(response.description);
  return el("details", { class: "answer", open: isGood && status !== "304" },
    el("summary", {}, el("span", { class: `status ${isGood ? "good" : "warn"}` }, status), isGood ? response.description : words(response.description)),
    el("div", { class: "inside" },
      ...(isGood ? [] : text),
      own.length > 0 ? el("p", { class: "muted" }, `With ${own.join(", ")}.`) : null,
      ...(isGood ? Object.entries(response.content ?? {}).flatMap(([media, one]) => content(document, about, media, one)) : [])));
}

/** A response, which may be one that several operations share. */
function resolved(document, response) {
  return response.$ref ? document.components.responses[named(response)] : response;
}

const PROBLEM = /^- `([a-z-]+)`: (.*)$/;

/** The problems of a refusal, in brief. */
function words(text) {
  return text.split("\n").map((line) => PROBLEM.exec(line)?.[1] ?? line).join(", ");
}

/** The same, each with the way to what to do about it. */
function kinds(text) {
  const items = text.split("\n").map((line) => PROBLEM.exec(line)).filter(Boolean);
  return [el("ul", {}, ...items.map(([, name, title]) => el("li", {}, el("a", { href: `#problem-${name}` }, name), `: ${title}`)))];
}

export function operation(document, one) {
  const { path, method, about } = one;
  const those = about.parameters ?? [];
  const body = about.requestBody;
  const inside = [...prose(about.description)];
  const line = curl(document, one, false);
  inside.push(code(line, `curl for ${about.summary}`, { "data-plain": line, "data-token": curl(document, one, true) }));
  for (const [place, title] of PLACES) {
    const here = those.filter((each) => each.in === place);
    if (here.length > 0) inside.push(el("h3", {}, title), parameters(document, here));
  }
  if (body) {
    const [[media, first]] = Object.entries(body.content).filter(([, each]) => each.schema);
    inside.push(el("h3", {}, body.required ? "Body" : "Body, which may be missing"), ...prose(document.components.schemas[named(first.schema)].description ?? ""), members(document, first.schema), ...content(document, about, Object.keys(body.content).join(" or ") || media, first));
  }
  inside.push(el("h3", {}, "Answers"), ...Object.entries(about.responses).map(([status, response]) => answer(document, about, status, resolved(document, response))));
  const roles = about.security.flatMap(({ bearer }) => bearer ?? []);
  return el("details", { class: "operation", id: about.operationId, "data-words": `${method} ${path} ${about.summary} ${about.operationId} ${Object.values(about.responses).map((response) => resolved(document, response).description).join(" ")}`.toLowerCase() },
    el("summary", {}, el("h3", {},
      el("span", { class: "method", "data-method": method }, method.toUpperCase()), el("code", {}, path), el("span", {}, about.summary),
      roles.length > 0 ? el("span", { class: "role" }, `role ${roles[0]}`) : null)),
    el("div", { class: "body" }, ...inside));
}
