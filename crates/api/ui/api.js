// The API, with the token of this tab.

const KEY = "edgeproxy.token";
/** For each answer, in ms: longer than the server takes at most. A network that goes away need not say so. */
const PATIENCE = 30_000;

/** The token, or null. It lives as long as this tab does, and is in no address. */
export function token() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function keepToken(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

export function headers(more = {}) {
  const shown = token();
  return shown ? { ...more, Authorization: `Bearer ${shown}` } : more;
}

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(status, words, fields = [], type = "") {
    super(words);
    this.status = status;
    this.fields = fields;
    /** Whether it may have been done all the same. */
    this.isOverdue = type.endsWith("#problem-overdue");
  }
}

/** The server can't be reached. */
export class Unreachable extends Error {}

/** What an answer that is no success says. */
export async function refusal(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // It is none of the API's; the status is all there is.
  }
  const words = typeof body?.error === "string" ? body.error : `the server answered ${response.status}`;
  const fields = Array.isArray(body?.fields) ? body.fields.map(({ field, problem }) => `${field} ${problem}`) : [];
  return new Refused(response.status, fields.length > 1 ? `${words}: ${fields.join("; ")}` : words, fields, String(body?.type ?? ""));
}

async function ask(method, path, body, more = {}) {
  const asked = { method, headers: headers({ Accept: "application/json", ...more }), cache: "no-store", redirect: "error" };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers["Content-Type"] = "application/json";
  }
  const limit = new AbortController();
  const overdue = new Unreachable(`the server didn't answer within ${PATIENCE / 1_000} s`);
  const timer = setTimeout(() => limit.abort(overdue), PATIENCE);
  try {
    let response;
    try {
      response = await fetch(path, { ...asked, signal: limit.signal });
    } catch {
      throw limit.signal.reason ?? new Unreachable("the server can't be reached");
    }
    if (!response.ok) throw await refusal(response);
    return await response.json();
  } finally {
    clearTimeout(timer);
  }
}

const one = (id) => `/api/v1/backends/${encodeURIComponent(id)}`;

/** Every backend, page by page. */
export async function backends() {
  const all = [];
  let cursor = null;
  do {
    const page = await ask("GET", `/api/v1/backends?limit=2000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    all.push(...page.backends);
    cursor = page.next_cursor ?? null;
  } while (cursor && all.length < 20_000);
  return all;
}

/** One backend, or null where there is none any more. */
export async function backend(id) {
  try {
    return await ask("GET", one(id));
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** The latest events, and where a stream goes on after them. */
export function events(limit, id) {
  return ask("GET", `/api/v1/events?limit=${limit}${id ? `&backend=${encodeURIComponent(id)}` : ""}`);
}

export function explain(query) {
  return ask("GET", `/api/v1/explain?${new URLSearchParams(query)}`);
}

// A change names the incarnation that was looked at: it must not hit a successor.
const fenced = (incarnation) => ({ "If-Match": `"${incarnation}"` });

export function patch(id, incarnation, change) {
  return ask("PATCH", one(id), change, { ...fenced(incarnation) });
}

export function drain(id, incarnation, secs) {
  return ask("DELETE", `${one(id)}?drain=${secs}s`, undefined, fenced(incarnation));
}
