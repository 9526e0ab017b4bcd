// What strangers say of their backends, on the page of whoever looks after all of them. `cargo xtask attacks` plays it.

import assert from "node:assert/strict";
import { opened, row } from "./stage.mjs";

export async function text_of_attackers_is_never_run({ api, payloads }) {
  const { page, check } = await opened(api);
  const ran = [];
  page.on("dialog", (dialog) => {
    ran.push(dialog.message());
    return dialog.dismiss();
  });
  page.on("popup", () => ran.push("a window"));
  // Their backend, with all that its metadata may hold.
  await row(page, "evil").click();
  await page.locator("#detail h2", { hasText: "evil" }).waitFor();
  // What an address may carry, for whoever follows a link.
  for (const payload of payloads) {
    await page.goto(`${api}/?app=${encodeURIComponent(payload)}#${encodeURIComponent(payload)}`, { waitUntil: "commit" });
  }
  await page.goto(api);
  await row(page, "evil").click();
  await page.getByText("Explain a pick").click();
  for (const payload of payloads) {
    await page.locator("#explain").getByLabel("Region").fill(payload);
    await page.getByRole("button", { name: "Explain", exact: true }).click();
  }
  await page.locator("#explained").waitFor();
  const found = await page.evaluate(() => ({
    scripts: [...document.scripts].filter((script) => !script.src).length,
    images: document.querySelectorAll("img[onerror], svg[onload]").length,
  }));
  assert.deepEqual(found, { scripts: 0, images: 0 }, "markup of theirs is in the page");
  assert.deepEqual(ran, [], "something ran");
  check();
}
