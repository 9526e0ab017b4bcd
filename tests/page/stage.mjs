// A browser, and backends that fail when they are told to. Everything is on this machine.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** Longer than anything takes, and shorter than a test may. */
export const PATIENCE = Number(process.env.EDGEPROXY_PATIENCE_SECS ?? 15) * 1_000;

const undo = [];

/** Ends everything that was begun, the latest first. */
export async function end() {
  for (const each of undo.reverse()) await each();
}

let browser = null;

async function launched() {
  browser ??= await chromium.launch({
    executablePath: process.env.EDGEPROXY_TEST_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  return browser;
}
undo.push(() => browser?.close());

/** Goes on to the server; but with EDGEPROXY_TEST_UI the page's files are those of that folder, for whoever changes them. */
async function answered(route) {
  const folder = process.env.EDGEPROXY_TEST_UI;
  const { pathname } = new URL(route.request().url());
  if (!folder || !/^\/(docs|ui\/.*)?$/.test(pathname)) return route.continue();
  const response = await route.fetch().catch(() => null);
  if (!response) return route.abort();
  const pages = { "/": "index.html", "/docs": "docs.html" };
  const name = pages[pathname] ?? pathname.slice("/ui/".length);
  const types = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html" };
  const headers = { "content-security-policy": response.headers()["content-security-policy"] ?? "", "content-type": types[name.split(".").at(-1)] };
  return route.fulfill({ status: 200, headers, body: await readFile(join(folder, name)) });
}

/**
 * A page of its own, which records what it asks for and what goes wrong in it. `check()` says that it asked nobody but
 * the server, and that nothing went wrong.
 */
export async function opened(url, options = {}) {
  const context = await (await launched()).newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const [asked, wrong] = [[], []];
  await context.route("**", (route) => {
    asked.push(route.request().url());
    return new URL(route.request().url()).origin === new URL(url).origin ? answered(route) : route.abort();
  });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    // A browser tells of every answer that is no success, and of a server that has gone. Both are played here.
    const expected = /Failed to load resource/.test(message.text());
    if (message.type() === "error" && !expected) wrong.push(message.text());
  });
  await page.goto(url);
  const check = () => {
    const strangers = asked.filter((one) => new URL(one).origin !== new URL(url).origin);
    assert.deepEqual(strangers, [], "it asked somebody else");
    assert.ok(asked.length > 5, "requests were recorded");
    assert.deepEqual(wrong, [], "something went wrong in the page");
  };
  return { page, context, check, asked };
}

/** A server that answers each request, or cuts its connection while it `fails`. */
export class Backend {
  constructor() {
    this.fails = false;
    this.delay = 0;
    this.served = 0;
    this.server = http.createServer((request, response) => {
      this.served++;
      if (this.fails) request.socket.destroy();
      else setTimeout(() => response.end("hello\n"), this.delay);
    });
  }

  async start() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    undo.push(() => {
      this.server.closeAllConnections();
      return new Promise((resolve) => this.server.close(resolve));
    });
    return this;
  }

  get port() {
    return this.server.address().port;
  }
}

/** A way to a server that can be cut. */
export class Cable {
  constructor(url) {
    this.isCut = false;
    this.ends = new Set();
    const { hostname, port } = new URL(url);
    this.server = net.createServer((near) => {
      if (this.isCut) return near.destroy();
      const far = net.connect(port, hostname);
      for (const [one, other] of [[near, far], [far, near]]) {
        this.ends.add(one);
        one.on("error", () => {});
        one.on("close", () => {
          this.ends.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
  }

  async start() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    undo.push(() => this.server.close());
    undo.push(() => this.cut());
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  cut() {
    this.isCut = true;
    for (const end of this.ends) end.destroy();
  }

  mend() {
    this.isCut = false;
  }
}

/** The API of the server under test. */
export class Api {
  constructor(url, token = null) {
    this.url = url;
    this.token = token;
  }

  async ask(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    return { status: response.status, body: await response.json() };
  }

  async register(id, more = {}) {
    const body = { id, app: "shop", region: "eu", ip: "127.0.0.1", port: 9, ...more };
    const { status, body: told } = await this.ask("POST", "/api/v1/register", body);
    assert.ok(status === 201 || status === 200, `${status} ${JSON.stringify(told)}`);
  }
}

/** One request to the proxy, whatever becomes of it. */
export function request(proxy, host = "shop") {
  return new Promise((resolve) => {
    const asked = http.get(proxy, { headers: { host }, agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    asked.on("error", () => resolve(0));
  });
}

/** Does it again until the page shows what is waited for. */
export async function until(what, does, shown) {
  const limit = Date.now() + PATIENCE;
  for (;;) {
    await does();
    if (await shown()) return;
    assert.ok(Date.now() < limit, `${what}: waited for too long`);
  }
}

/** The row of a backend. */
export function row(page, id) {
  return page.locator("button.row").filter({ has: page.locator(".id", { hasText: new RegExp(`^${RegExp.escape?.(id) ?? id.replace(/[.:+]/g, "\\$&")}$`) }) });
}

/** Shows a token, as a person does. */
export async function sign(page, token) {
  await page.locator("#gate-sign:visible, #sign:visible").first().click();
  await page.locator("#token input").fill(token);
  await page.getByRole("button", { name: "Use it" }).click();
}
