// Schemas as tables of members.

import { el } from "./dom.js";

/** `code` and **strong** of a line. */
function inline(line) {
  return line.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}

/** The little of Markdown that descriptions use: paragraphs, lists, code and strong. */
export function prose(text, isWithin = false) {
  if (isWithin) return inline(text);
  return text.split(/\n\n+/).filter(Boolean).map((block) => {
    if (!block.startsWith("- ")) return el("p", {}, ...inline(block));
    const items = block.split(/^- /m).filter(Boolean);
    return el("ul", {}, ...items.map((item) => el("li", {}, ...inline(item.trim()))));
  });
}

/** The component that a reference names. */
export function named(schema) {
  return schema.$ref?.split("/").at(-1);
}

function resolved(document, schema) {
  const name = named(schema);
  return name ? { ...document.components.schemas[name], ...schema, $ref: undefined } : schema;
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** A range in words. */
function between(low, high, unit) {
  if (low !== undefined && high !== undefined) return `${low}–${high}${unit}`;
  if (low !== undefined) return `at least ${low}${unit}`;
  return high === undefined ? null : `at most ${high}${unit}`;
}

/** What a value must be like, in words. */
export function rules(document, given) {
  const schema = resolved(document, given);
  const words = [];
  const either = schema.anyOf?.filter((one) => one.type !== "null") ?? [];
  const byDefault = schema.default === undefined ? null : `default ${plain(schema.default)}`;
  if (either.length === 1) return [...rules(document, either[0]), "or null", byDefault].filter(Boolean);
  const types = [schema.type ?? []].flat();
  if (either.length > 1) words.push(either.map(({ format }) => format).join(" or "));
  else if (types.length > 0) words.push(types.join(" or "));
  if (schema.format && !schema.anyOf) words.push(schema.format);
  if (schema.const !== undefined) words.push(`always ${plain(schema.const)}`);
  if (schema.enum) words.push(schema.enum.length > 24 ? `one of ${schema.enum.length}: ${schema.enum.slice(0, 3).join(", ")} …` : `one of ${schema.enum.map(plain).join(", ")}`);
  words.push(between(schema.minimum, schema.maximum, ""), between(schema.minLength, schema.maxLength, " characters"));
  if (schema.maxProperties) words.push(`at most ${schema.maxProperties} members`);
  if (schema.pattern) words.push(schema.pattern);
  words.push(byDefault);
  return words.filter(Boolean);
}

/** The object within a schema that has members of its own to be shown: itself, or what a list is of, or what may be null. */
function inner(schema) {
  if (schema.properties) return schema;
  if (schema.items) return inner(schema.items);
  return null;
}

function refersTo(document, schema) {
  const candidates = [schema, schema.items ?? {}, ...(schema.anyOf ?? [])];
  const name = candidates.map(named).find((one) => one && document.components.schemas[one].properties);
  return name ? el("a", { href: `#schema-${name}` }, name) : null;
}

/** One row: what it is called, what it is, and what is in it. */
function row(document, name, schema, isRequired) {
  const whole = resolved(document, schema);
  const link = refersTo(document, schema);
  const within = inner(schema);
  const text = schema.description ?? schema.items?.description ?? whole.description ?? "";
  const kind = link ? [schema.items ? "array of " : "", link] : [rules(document, schema).join(" · ")];
  return el("tr", {},
    el("td", {}, el("code", {}, name), isRequired ? el("span", { class: "needed" }, "required") : null),
    el("td", {}, ...prose(text, true), el("span", { class: "rules" }, ...kind), within && !link ? members(document, within) : null));
}

/** The members of an object, those that it must have at first. */
export function members(document, given) {
  const schema = resolved(document, given);
  const required = schema.required ?? [];
  const names = Object.keys(schema.properties ?? {});
  const sorted = [...names.filter((name) => required.includes(name)), ...names.filter((name) => !required.includes(name))];
  return table(sorted.map((name) => row(document, name, schema.properties[name], required.includes(name))), "Member");
}

/** The parameters of an operation that stand in one place. */
export function parameters(document, those) {
  return table(those.map((one) => row(document, one.name, { ...one.schema, description: one.description }, one.required)), "Parameter");
}

function table(rows, what) {
  return el("table", { class: "members" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, what), el("th", { scope: "col" }, "What it is"))),
    el("tbody", {}, ...rows));
}
