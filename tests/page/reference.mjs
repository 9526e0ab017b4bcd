// The reference of the API at /docs: everything that the description has, without a request to anybody else.

import assert from "node:assert/strict";
import { findings } from "./reach.mjs";
import { opened } from "./stage.mjs";

export async function the_reference_is_complete_offline_and_by_keyboard({ api }) {
  const described = await (await fetch(`${api}/openapi.json`)).json();
  for (const colorScheme of ["light", "dark"]) {
    const { page, check } = await opened(`${api}/docs`, { colorScheme });
    await page.locator("#conventions").waitFor();
    const wanted = [
      ...Object.values(described.paths).flatMap((methods) => Object.values(methods).map(({ operationId }) => operationId)),
      ...described["x-problems"].map(({ name }) => `problem-${name}`),
      ...Object.entries(described.components.schemas).flatMap(([name, { properties }]) => (properties ? [`schema-${name}`] : [])),
    ];
    assert.deepEqual(await page.evaluate((ids) => ids.filter((id) => !document.getElementById(id)), wanted), []);
    // All of them open would have axe look for minutes.
    await page.evaluate(() => ["register", "followEvents", "schema-Backend"].forEach((id) => (document.getElementById(id).open = true)));
    assert.deepEqual(await findings(page), [], colorScheme);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no scrolling sideways");
    check();
  }

  const { page, check } = await opened(`${api}/docs#problem-dead-incarnation`, { viewport: { width: 390, height: 800 } });
  await page.locator("#problem-dead-incarnation").waitFor();
  await page.waitForFunction(() => document.querySelector("#problem-dead-incarnation").getBoundingClientRect().top < innerHeight);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a phone doesn't scroll sideways");

  // By keyboard: to the search, to what is found, and open.
  await page.keyboard.press("/");
  await page.keyboard.type("register renew");
  await page.locator("#heartbeat").waitFor({ state: "hidden" });
  await page.evaluate(() => document.querySelector("#register > summary").focus());
  await page.keyboard.press("Enter");
  const line = page.locator("#register [data-plain]");
  await line.waitFor();
  assert.match(await line.textContent(), /^curl -X POST http:\/\/127\.0\.0\.1:\d+\/api\/v1\/register -H 'Content-Type: application\/json' -d '\{/);
  await page.getByLabel("curl with a token").check();
  assert.match(await line.textContent(), /-H "Authorization: Bearer \$TOKEN"/);

  // A link shows what it leads to, also where the search has hidden that.
  await page.evaluate(() => (location.hash = "#heartbeat"));
  await page.locator("#heartbeat[open]").waitFor({ state: "visible" });
  assert.equal(await page.locator("#search").inputValue(), "");
  check();

  // A mangled one shows the page.
  const mangled = await opened(`${api}/docs#%E0`, {});
  await mangled.page.locator("#schemas").waitFor();
  assert.ok(await mangled.page.locator("#alarm").isHidden(), "no alarm");
  mangled.check();
}
