// npm run pictures: the dashboard's pictures in docs/pictures, of a server with traffic. With --from-disk the page's files
// are those of crates/api/ui, so that a change can be looked at without building anything.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Api, Backend, end, opened, request, row } from "./stage.mjs";

const ROOT = new URL("../../", import.meta.url).pathname;
if (process.argv.includes("--from-disk")) process.env.EDGEPROXY_TEST_UI = join(ROOT, "crates/api/ui");
const out = process.env.EDGEPROXY_PICTURES ?? join(ROOT, "docs/pictures");

const FLEET = [
  ...[1, 2, 3, 4].map((n) => ({ id: `sa-${n}`, region: "sa", country: "BR", delay: 4 + n, weight: n === 1 ? 4 : 2 })),
  ...[1, 2, 3].map((n) => ({ id: `us-${n}`, region: "us", country: "US", delay: 12 + 3 * n, weight: 2 })),
  ...[1, 2, 3, 4, 5].map((n) => ({ id: `eu-${n}`, region: "eu", country: "DE", delay: 8 + 2 * n, weight: 2 })),
];

async function server() {
  const folder = await mkdtemp(join(tmpdir(), "edgeproxy-pictures-"));
  const env = {
    PATH: process.env.PATH,
    EDGEPROXY_LISTEN_ADDR: "127.0.0.1:0",
    EDGEPROXY_API_ENABLED: "true",
    EDGEPROXY_API_LISTEN_ADDR: "127.0.0.1:8081",
    EDGEPROXY_WORKERS: "1",
    EDGEPROXY_MAX_FAILURES: "3",
    EDGEPROXY_ALGORITHM: "least_connections",
    EDGEPROXY_STORE: "file",
    EDGEPROXY_DATA_DIR: folder,
    EDGEPROXY_LOG_FORMAT: "json",
  };
  const child = spawn(process.env.EDGEPROXY_BIN ?? join(ROOT, "target/debug/edgeproxy"), ["run"], { env, cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const found = {};
  let said = "";
  await new Promise((resolve, reject) => {
    const read = (chunk) => {
      said += chunk;
      found.proxy = /serves HTTP[^"]* on (127\.0\.0\.1:\d+)/.exec(said)?.[1];
      found.api = /backends register at http:\/\/([^/]+)/.exec(said)?.[1];
      if (found.api && found.proxy) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", () => reject(new Error(`edgeproxy ended: ${said}`)));
  });
  return { api: `http://${found.api}`, proxy: `http://${found.proxy}`, stop: () => child.kill("SIGKILL") };
}

async function shown(api, options) {
  return (await opened(api, { deviceScaleFactor: 2, ...options })).page;
}

const { api, proxy, stop } = await server();
try {
  await mkdir(out, { recursive: true });
  const told = new Api(api);
  const empty = await shown(api, { colorScheme: "light", viewport: { width: 1280, height: 800 } });
  await empty.getByText("Nothing has registered yet").waitFor();
  await empty.screenshot({ path: join(out, "dashboard-empty.png") });
  const backends = new Map();
  for (const { delay, ...one } of FLEET) {
    const backend = await new Backend().start();
    backend.delay = delay;
    backends.set(one.id, backend);
    const limits = one.id.startsWith("sa") ? { soft_limit: 6, hard_limit: 10 } : { soft_limit: 12, hard_limit: 20 };
    await told.register(one.id, { ...one, ...limits, ttl_secs: 3600, port: backend.port, metadata: { version: "2.4.1", rack: `r${one.id.at(-1)}` } });
  }
  await told.register("search-1", { app: "search", region: "eu", ttl_secs: 3600, port: backends.get("eu-5").port });
  let stopped = false;
  const client = async (host) => {
    while (!stopped) {
      await request(proxy, host);
      await pause(20 + Math.random() * 120 * (1.2 + Math.sin(Date.now() / 6_000)));
    }
  };
  const clients = [...Array.from({ length: 22 }, () => client("shop")), client("search")];
  const more = process.env.MORE ? [[1280, "light"], [1280, "dark"], [1024, "light"], [1920, "dark"], [1920, "light"], [390, "dark"]] : [];
  const others = [];
  for (const [width, colorScheme] of more) {
    const page = await shown(api, { colorScheme, viewport: { width, height: width === 390 ? 844 : Math.round(width * 0.6) }, deviceScaleFactor: 1 });
    others.push([`more-${width}-${colorScheme}.png`, page]);
  }
  const pages = {
    light: await shown(api, { colorScheme: "light", viewport: { width: 1440, height: 930 } }),
    dark: await shown(api, { colorScheme: "dark", viewport: { width: 1440, height: 930 } }),
    phone: await shown(api, { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }),
  };
  await pause(Number(process.env.SECONDS ?? 62) * 1_000);
  backends.get("eu-3").fails = true;
  await told.ask("PATCH", "/api/v1/backends/us-3", { enabled: false });
  await told.ask("PATCH", "/api/v1/backends/sa-1", { weight: 6 });
  await told.ask("POST", "/api/v1/heartbeat/sa-4", { draining: true });
  await pause(6_000);
  await row(pages.light, "eu-3").click();
  await pages.dark.locator("#explain-more summary").click();
  await pages.dark.locator("#explain select").selectOption("shop");
  await pages.dark.locator("#explain").getByLabel("Region").fill("sa");
  await pages.dark.getByRole("button", { name: "Explain", exact: true }).click();
  await pages.dark.locator("#explained").scrollIntoViewIfNeeded();
  await pause(2_500);
  await pages.light.screenshot({ path: join(out, "dashboard-light.png") });
  await pages.dark.screenshot({ path: join(out, "dashboard-dark.png") });
  await pages.phone.screenshot({ path: join(out, "dashboard-phone.png") });
  for (const [name, page] of others) await page.screenshot({ path: join(out, name) });
  if (process.env.MORE) {
    await pages.phone.screenshot({ path: join(out, "more-phone-whole.png"), fullPage: true });
    await row(pages.light, "sa-1").click();
    await pages.light.getByRole("button", { name: "Drain…" }).click();
    await pages.light.screenshot({ path: join(out, "more-confirm.png") });
  }
  stopped = true;
  await Promise.all(clients);
} finally {
  await end();
  stop();
}
