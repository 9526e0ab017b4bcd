// Everybody can use it: by keyboard, by what a screen reader is told, on a phone.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { Api, opened, row } from "./stage.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function findings(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.ok(passes.length > 20, "axe has looked");
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}

/** A fleet with every state that can be had without waiting. */
async function fleet(api) {
  const told = new Api(api);
  for (const region of ["eu", "us", "sa"]) {
    for (const number of [1, 2, 3, 4]) await told.register(`${region}-${number}`, { region, metadata: { rack: `r${number}` } });
  }
  await told.ask("PATCH", "/api/v1/backends/eu-2", { enabled: false });
  await told.ask("PATCH", "/api/v1/backends/us-1", { weight: 0 });
  await told.ask("POST", "/api/v1/heartbeat/sa-1", { draining: true });
  await told.register("other-1", { app: "other", region: "ap" });
}

export async function axe_finds_nothing_serious_in_light_and_dark({ api }) {
  for (const colorScheme of ["light", "dark"]) {
    const { page, check } = await opened(api, { colorScheme });
    await page.locator('#line[data-line="live"]').waitFor();
    assert.deepEqual(await findings(page), [], `${colorScheme}, at first`);
    if (colorScheme === "light") {
      await page.getByText("Nothing has registered yet").waitFor();
      await fleet(api);
    }
    await row(page, "eu-2").click();
    await page.getByText("Explain a pick").click();
    await page.getByRole("button", { name: "Explain", exact: true }).click();
    await page.locator("#explained .picked").waitFor();
    assert.deepEqual(await findings(page), [], `${colorScheme}, a backend and an explanation`);
    await page.getByRole("button", { name: "Enable…" }).click();
    assert.deepEqual(await findings(page), [], `${colorScheme}, a question`);
    check();
  }
}

export async function everything_can_be_reached_by_keyboard({ api }) {
  await fleet(api);
  const { page, check } = await opened(api);
  await row(page, "eu-1").waitFor();
  const focused = () => page.evaluate(() => document.activeElement.querySelector?.(".id")?.textContent ?? document.activeElement.id ?? document.activeElement.tagName);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  await page.keyboard.press("/");
  assert.equal(await focused(), "search");
  // The latest way to a row is one Tab, however many there are.
  await page.keyboard.press("Tab");
  const first = await focused();
  assert.equal(first, "other-1", "the first region's first");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "eu-2", "trouble comes first");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "eu-1");
  await page.keyboard.press("End");
  assert.equal(await focused(), "eu-4");
  await page.keyboard.press("Home");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "one sees where one is");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "detail");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Enable eu-2?" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("heading", { name: "Enable eu-2?" }).waitFor({ state: "hidden" });
  await page.locator("#detail").focus();
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#detail").isHidden());
  assert.equal(await focused(), "eu-2", "back where one was");
  // Round the whole page, and out of it: nobody is kept.
  const seen = new Set();
  for (let step = 0; step < 40; step++) {
    await page.keyboard.press("Tab");
    seen.add(await focused());
  }
  for (const place of ["app", "state", "order", "search", "kinds", "pause", "log"]) assert.ok(seen.has(place), `${place} of ${[...seen]}`);
  check();
}

export async function a_phone_shows_all_of_it_without_scrolling_sideways({ api }) {
  await fleet(api);
  const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  const { page, check } = await opened(api, phone);
  // Rows exist where they can be seen, and this is further down.
  await page.locator("#region-eu").evaluate((region) => region.scrollIntoView({ block: "start" }));
  await row(page, "eu-1").waitFor();
  const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.equal(await sideways(), 0);
  await row(page, "eu-2").tap();
  await page.locator("#detail h2", { hasText: "eu-2" }).waitFor();
  assert.equal(await sideways(), 0);
  await page.getByText("Explain a pick").tap();
  await page.getByRole("button", { name: "Explain", exact: true }).tap();
  await page.locator("#explained .picked").waitFor();
  assert.equal(await sideways(), 0);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("button:not(.link), select, input")].filter((one) => one.offsetParent && one.getBoundingClientRect().height < 24).map((one) => one.outerHTML),
  );
  assert.deepEqual(small, [], "a finger finds everything (WCAG 2.2, 2.5.8)");
  check();
}
