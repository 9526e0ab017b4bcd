// 1,000 backends, all of them busy.

import assert from "node:assert/strict";
import { Api, opened } from "./stage.mjs";

const REGIONS = ["eu", "us", "sa", "ap"];

/**
 * The longest task of the page's main thread in a trace, in ms of that thread's own time: what other processes take from it
 * is not the page's.
 */
function longest(events) {
  const main = events.find(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const tasks = events.filter(({ name, ph, tid, pid }) => name === "RunTask" && ph === "X" && tid === main?.tid && pid === main?.pid);
  assert.ok(tasks.length > 100, `the trace has ${tasks.length} tasks of the page`);
  const took = ({ tdur, dur }) => (tdur ?? dur) / 1_000;
  const worst = tasks.reduce((one, other) => (took(other) > took(one) ? other : one));
  const within = events.filter((event) => event.tid === worst.tid && event.ph === "X" && event !== worst && event.ts >= worst.ts && event.ts + event.dur <= worst.ts + worst.dur);
  const parts = within.filter(({ dur }) => dur > 3_000).map(({ name, dur, args }) => `${name} ${(dur / 1_000).toFixed(1)} ms ${args?.data?.functionName ?? args?.data?.type ?? ""}`);
  return { task: took(worst), parts: parts.join(", ") };
}

/** States change, rows move, and somebody scrolls, searches and sorts. */
async function changes(page, told) {
  await page.mouse.move(500, 600);
  for (let at = 0; at < 30; at++) {
    await told.ask("PATCH", `/api/v1/backends/${REGIONS[at % 4]}-${at}`, { weight: at % 2 === 0 ? 0 : 5 });
    await page.mouse.wheel(0, at % 10 < 5 ? 900 : -900);
  }
  await page.locator("#search").fill("eu-1");
  await page.locator("#search").fill("");
  await page.locator("#order").selectOption("load");
  await page.locator("#order").selectOption("trouble");
}

/** What the page's main thread did meanwhile, by a performance trace, and how far frames were apart. */
async function measured(page, context, act) {
  const session = await context.newCDPSession(page);
  const events = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  const includedCategories = ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline", "v8", "__metadata"];
  await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories } });
  const frames = page.evaluate(
    () =>
      new Promise((resolve) => {
        const spans = [];
        let before = performance.now();
        const until = before + 4_000;
        const step = (now) => {
          spans.push(now - before);
          before = now;
          if (now < until) requestAnimationFrame(step);
          else resolve(spans.sort((a, b) => a - b));
        };
        requestAnimationFrame(step);
      }),
  );
  await act();
  const spans = await frames;
  const done = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
  await session.send("Tracing.end");
  await done;
  await session.detach();
  return { ...longest(events), median: spans[spans.length >> 1], worst: spans.at(-1) };
}

export async function a_thousand_backends_stay_under_50_ms_a_frame({ api }) {
  const told = new Api(api);
  for (let at = 0; at < 1_000; at += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, one) => told.register(`${REGIONS[one % 4]}-${at + one}`, { region: REGIONS[one % 4], app: `app-${one % 5}`, metadata: { rack: `r${one}` } })));
  }
  const { page, context, check } = await opened(api);
  await page.locator("#shown", { hasText: "1,000" }).waitFor();
  await page.locator('#line[data-line="live"]').waitFor();
  const rows = await page.evaluate(() => document.querySelectorAll("button.row").length);
  assert.ok(rows < 120, `${rows} rows are there at once`);
  // The page can be no quicker than it is, only slower by what else this machine does: the best of three rounds counts.
  const rounds = [];
  for (let round = 0; round < 3; round++) rounds.push(await measured(page, context, () => changes(page, told)));
  const best = rounds.reduce((one, other) => (one.task <= other.task ? one : other));
  console.log(`1,000 backends: longest task ${best.task.toFixed(1)} ms of processor time, frames: median ${best.median.toFixed(1)} ms, longest ${best.worst.toFixed(1)} ms (${best.parts})`);
  assert.ok(best.task < 50, `a task of ${best.task.toFixed(1)} ms`);
  check();
}
