// The life of a backend, as the page shows it.

import assert from "node:assert/strict";
import { Api, Backend, Cable, opened, request, row, until } from "./stage.mjs";

export async function starts_empty_and_shows_a_backend_within_a_second_of_its_registration({ api, proxy }) {
  const { page, check } = await opened(api);
  await page.getByText("Nothing has registered yet").waitFor();
  const lines = await page.locator("#empty pre").allTextContents();
  assert.ok(lines[0].includes(`curl -X POST ${api}/api/v1/register`), lines[0]);
  await page.locator('#line[data-line="live"]').waitFor();
  const backend = await new Backend().start();
  await new Api(api).register("eu-1", { port: backend.port });
  const registered = Date.now();
  await row(page, "eu-1").waitFor();
  const took = Date.now() - registered;
  assert.ok(took < 1_000, `it took ${took} ms`);
  assert.ok(await page.locator("#empty").isHidden());
  assert.match(await row(page, "eu-1").textContent(), /takes traffic/);
  assert.match(await page.locator("#log li").first().textContent(), /registered.*eu-1/);
  // What was sent is what is shown.
  const rate = page.locator(".total").first().locator(".number", { hasText: /[1-9]/ }).waitFor();
  for (let sent = 0; sent < 20; sent++) assert.equal(await request(proxy), 200);
  await rate;
  await row(page, "eu-1").click();
  await page.locator("#detail dd", { hasText: /^20$/ }).waitFor();
  check();
  console.log(`shown ${took} ms after its registration`);
}

export async function shows_an_ejection_with_its_reason_and_the_return({ api, proxy }) {
  const [well, ill] = [await new Backend().start(), await new Backend().start()];
  const told = new Api(api);
  await told.register("eu-1", { port: well.port });
  await told.register("eu-2", { port: ill.port });
  const { page, check } = await opened(api);
  await row(page, "eu-2").waitFor();
  ill.fails = true;
  const words = () => row(page, "eu-2").textContent();
  await until("it is ejected", () => request(proxy), async () => /ejected/.test(await words()));
  assert.match(await words(), /3 consecutive requests failed; on trial in \d+ s at the latest/);
  await row(page, "eu-2").click();
  assert.match(await page.locator("#detail").textContent(), /3 consecutive requests failed/);
  assert.match(await page.locator("#log").textContent(), /ejected.*eu-2.*3 consecutive requests failed/);
  ill.fails = false;
  await until("it is back", () => request(proxy), async () => /takes traffic/.test(await words()));
  assert.match(await page.locator("#log").textContent(), /readmitted.*eu-2/);
  check();
}

export async function goes_on_where_it_was_after_the_connection_was_lost({ api }) {
  const told = new Api(api);
  await told.register("eu-1");
  const cable = await new Cable(api).start();
  const { page, check } = await opened(cable.url);
  await row(page, "eu-1").waitFor();
  await page.locator('#line[data-line="live"]').waitFor();
  await cable.cut();
  await page.locator('#line[data-line="lost"]').waitFor({ timeout: 25_000 });
  assert.match(await page.locator("#line").textContent(), /no connection since \d\d:\d\d:\d\d, next try at/);
  await told.register("eu-2");
  await told.ask("DELETE", "/api/v1/backends/eu-1");
  cable.mend();
  await page.locator('#line[data-line="live"]').waitFor({ timeout: 30_000 });
  await row(page, "eu-2").waitFor();
  await row(page, "eu-1").waitFor({ state: "detached" });
  // Each once: nothing was missed, and nothing told twice.
  const log = await page.locator("#log li .what").allTextContents();
  assert.deepEqual(log, ["removed", "registered", "registered"]);
  check();
  assert.deepEqual(await page.evaluate(answersOfBefore), { gone: [], again: ["b"], failed: ["c"], former: [] });
  assert.deepEqual(await page.evaluate(neverAnswered), { error: "Unreachable", words: "the server didn't answer within 30 s" });
  assert.deepEqual(await page.evaluate(whetherDone), ["Not done", "Perhaps not done", "Perhaps not done"]);
}

/** In the page: what is said of a change that was refused, of one that may still take effect, and of one without an answer. */
async function whetherDone() {
  const { explainRefusal } = await import("/ui/actions.js");
  const { refusal, Unreachable } = await import("/ui/api.js");
  const answer = (kind) => new Response(JSON.stringify({ type: `/docs#problem-${kind}`, error: "words" }), { status: 503 });
  const errors = [await refusal(answer("stopping")), await refusal(answer("overdue")), new Unreachable("words")];
  return errors.map((error) => explainRefusal(error).split(":")[0]);
}

/** In the page: what comes of a question whose answer never comes, on a connection that nobody closes. */
async function neverAnswered() {
  const api = await import("/ui/api.js");
  const { fetch: before, setTimeout: later } = window;
  let due = null;
  window.setTimeout = (call) => ((due = call), 0);
  window.fetch = (path, { signal }) =>
    new Promise((resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const asked = api.backends();
  Object.assign(window, { fetch: before, setTimeout: later });
  if (!due) return "it is waited for without end";
  due();
  return asked.catch((error) => ({ error: error.constructor.name, words: error.message }));
}

/** In the page: which backends are there after answers that are late, are lost, or are for a token of before. */
async function answersOfBefore() {
  const { Fleet } = await import("/ui/fleet.js");
  const asked = [];
  let wake = null;
  window.fetch = (path) =>
    new Promise((resolve, reject) => {
      const answer = (body) => resolve(new Response(JSON.stringify(body)));
      asked.push({ path, answer, reject });
      wake?.();
    });
  const next = async () => {
    while (asked.length === 0) {
      await new Promise((resolve, reject) => {
        wake = resolve;
        setTimeout(() => reject(new Error(`nothing is asked for; so far ${JSON.stringify(found)}`)), 10_000);
      });
    }
    return asked.shift();
  };
  const view = (id, incarnation) => ({ id, incarnation, app: "shop", region: "eu", state: "routable", latency_ms: null, in_flight: 0 });
  const event = (type, incarnation, state) => ({ type, backend: "b", incarnation, state, reason: "" });
  const ids = (fleet) => [...fleet.backends.keys()];
  const looked = (fleet) => new Promise((resolve) => (fleet.changed = resolve));
  const found = {};

  let fleet = new Fleet(() => {});
  fleet.note(event("registered", 5, "routable"), "1-1");
  let one = await next();
  fleet.note(event("removed", 5, null), "1-2");
  let done = looked(fleet);
  one.answer(view("b", 5));
  await done;
  found.gone = ids(fleet);
  fleet.note(event("registered", 6, "routable"), "1-3");
  one = await next();
  done = looked(fleet);
  one.answer(view("b", 6));
  await done;
  found.again = ids(fleet);

  fleet = new Fleet(() => {});
  fleet.lookUp("c");
  (await next()).reject(new TypeError("no network"));
  one = await next();
  done = looked(fleet);
  one.answer(view("c", 1));
  await done;
  found.failed = ids(fleet);

  fleet = new Fleet(() => {});
  const listing = fleet.list();
  one = await next();
  fleet.forget();
  one.answer({ backends: [view("d", 1)], next_cursor: null });
  await listing;
  found.former = ids(fleet);
  return found;
}

export async function text_of_backends_is_text_and_never_markup({ api }) {
  const script = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
  const told = new Api(api);
  // What ids may consist of is narrow; metadata may be anything.
  const { status } = await told.ask("POST", "/api/v1/register", { id: script, app: "shop", region: "eu", ip: "127.0.0.1", port: 9 });
  assert.equal(status, 422);
  await told.register("eu-1", { metadata: { [script]: script, rack: "javascript:alert(1)" } });
  const { page, check } = await opened(api);
  await row(page, "eu-1").click();
  await page.locator("#detail dd", { hasText: script }).waitFor();
  // As if the server had not refused: the page trusts nothing that it is sent.
  const forged = { id: script, app: script, region: "eu", country: "DE", ip: script, port: 1, weight: 2, soft_limit: 1, hard_limit: 1, fallback: false, protocol: script, ttl_secs: 60, metadata: {}, source: script, state: "ejected", reason: script, healthy: false, in_flight: 0, last_heartbeat_secs: 1, registered_secs: 1, expires_in_secs: 1, incarnation: 1, requests_total: 0, failures_total: 0, latency_ms: null };
  await page.route("**/api/v1/backends?*", (route) => route.fulfill({ json: { backends: [forged], total: 1 } }));
  await page.route("**/api/v1/events?limit*", (route) =>
    route.fulfill({ json: { events: [{ id: "1-1", time: new Date().toISOString(), type: script, backend: script, app: script, region: "eu", state: script, reason: script, incarnation: 1 }], last_event_id: "1-1", reset: false } }),
  );
  await page.reload();
  await page.locator(".row .id", { hasText: script }).waitFor();
  await page.locator("button.row").first().click();
  await page.locator("#detail h2", { hasText: script }).waitFor();
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator("img").count(), 1, "the page's own symbol alone");
  // And if it did: the policy has no place for it.
  const stopped = await page.evaluate(() => {
    try {
      document.body.innerHTML = "<b>no</b>";
      return false;
    } catch (error) {
      return error instanceof TypeError;
    }
  });
  assert.ok(stopped, "trusted types let nobody write markup");
  void check;
}
