// What a token allows, and what the page says where it doesn't.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { Api, opened, row, sign } from "./stage.mjs";

export async function drains_one_by_a_click_with_a_token_and_refuses_without({ api, tokens, tokensFile }) {
  const told = new Api(api, tokens.operate);
  await told.register("eu-1");
  await told.register("eu-2");
  const { page, context, check, asked } = await opened(api);

  // Without one: nothing but the question for one.
  await page.getByRole("heading", { name: "This API takes a token" }).waitFor();
  assert.match(await page.locator("#gate-reason").textContent(), /Authorization: Bearer TOKEN/);
  assert.equal(await page.locator("button.row").count(), 0);
  // A wrong one is told to be wrong.
  await sign(page, "wrong-token-wrong-token-wrong-token");
  await page.locator("#gate-reason", { hasText: "isn't taken" }).waitFor();

  // To look is not to change.
  await sign(page, tokens.read);
  await row(page, "eu-1").click();
  assert.ok(await page.getByRole("button", { name: "Drain…" }).isDisabled());
  await page.getByText("Your token has the role read").waitFor();
  assert.match(await page.locator("#sign").textContent(), /page-read: read/);

  // With the role it drains, after a question.
  await page.locator("#sign").click();
  await page.locator("#token input").fill(tokens.operate);
  await page.getByRole("button", { name: "Use it" }).click();
  await row(page, "eu-1").click();
  await page.getByRole("button", { name: "Drain…" }).click();
  await page.getByRole("heading", { name: "Drain eu-1?" }).waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await told.ask("GET", "/api/v1/backends/eu-1")).body.state, "routable", "a question changes nothing");
  await page.getByRole("button", { name: "Drain…" }).click();
  await page.getByRole("button", { name: "Drain it" }).click();
  await page.locator("#told", { hasText: "eu-1" }).waitFor();
  assert.notEqual((await told.ask("GET", "/api/v1/backends/eu-1")).body.state, "routable");

  // One that was taken away while the page was open is refused in words.
  await row(page, "eu-2").click();
  await page.getByRole("button", { name: "Disable…" }).click();
  await page.route("**/api/v1/backends/eu-2", async (route) => {
    if (route.request().method() !== "PATCH") return route.continue();
    return route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${tokens.register}` } });
  });
  await page.getByRole("button", { name: "Disable it" }).click();
  await page.locator("#confirm .refused", { hasText: "your token doesn't allow it" }).waitFor();
  assert.match(await page.locator("#confirm .refused").textContent(), /takes the role operate; the token "page-register" has register/);
  assert.equal((await told.ask("GET", "/api/v1/backends/eu-2")).body.state, "routable");
  await page.getByRole("button", { name: "Cancel" }).click();

  // A token is in this tab and nowhere else.
  assert.ok(asked.every((url) => !Object.values(tokens).some((token) => url.includes(token))), "in an address");
  const kept = await page.evaluate(() => ({ local: localStorage.length, session: sessionStorage.length, cookies: document.cookie }));
  assert.deepEqual(kept, { local: 0, session: 1, cookies: "" });
  assert.deepEqual(await context.cookies(), []);

  // Taken out of the file, it ends what it follows.
  const file = await readFile(tokensFile, "utf8");
  await writeFile(tokensFile, file.split("[[tokens]]").filter((entry) => !entry.includes("page-operate")).join("[[tokens]]"));
  await page.getByRole("heading", { name: "This API takes a token" }).waitFor();
  assert.equal(await page.locator("button.row").count(), 0);
  check();
}

export async function disables_enables_and_weighs_by_click({ api }) {
  const told = new Api(api);
  await told.register("eu-1");
  await told.register("eu-2");
  const { page, check } = await opened(api);
  await row(page, "eu-1").click();
  const button = (name) => page.getByRole("button", { name, exact: true });
  await button("Disable…").click();
  await button("Disable it").click();
  await page.locator("#detail .word", { hasText: "disabled" }).waitFor();
  await page.locator("#detail .why", { hasText: "disabled by an operator" }).first().waitFor();
  await button("Enable…").click();
  await button("Enable it").click();
  await page.locator("#detail .word", { hasText: "takes traffic" }).waitFor();
  await page.getByLabel("Weight").fill("7");
  await button("Set…").click();
  await button("Set it").click();
  await page.locator("#detail dd", { hasText: "7, set by an operator" }).waitFor();
  assert.equal((await told.ask("GET", "/api/v1/backends/eu-1")).body.weight, 7);
  await button("Its own…").click();
  await button("Give it back").click();
  await page.locator("#detail dd", { hasText: /^2$/ }).waitFor();
  assert.equal((await told.ask("GET", "/api/v1/backends/eu-1")).body.overrides, undefined);
  check();
}

export async function explains_a_pick_and_says_why_not_the_others({ api }) {
  const told = new Api(api);
  await told.register("eu-1");
  await told.register("us-1", { region: "us" });
  const { page, check } = await opened(api);
  await row(page, "eu-1").waitFor();
  await page.getByText("Explain a pick").click();
  await page.locator("#explain").getByLabel("Region").fill("us");
  await page.getByRole("button", { name: "Explain", exact: true }).click();
  await page.locator("#explained", { hasText: "Picked: us-1" }).waitFor();
  await page.locator("#explain").getByLabel("Region").fill("mars");
  await page.getByRole("button", { name: "Explain", exact: true }).click();
  await page.locator("#explained", { hasText: "not a configured region" }).waitFor();
  check();
}
