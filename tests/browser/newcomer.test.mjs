// What a newcomer does after the README's "Chat in ten minutes", with the links that it printed.

import { after, test } from "node:test";
import { becomes, browser, end, is, order, said, tab, texts, until } from "./scene.mjs";

after(end);

test("the two links are a chat, and being rough does it no harm", async () => {
  const [ada, ben] = process.env.WARREN_LINKS.split(" ");
  // The page is being built.
  await until("the page", () => fetch(new URL(ada).origin).then(() => true, () => false));
  const context = await browser.newContext();
  let first = await tab(ada, context);
  const second = await tab(ben, context);
  const lines = [];
  const type = async (page, line) => {
    await page.fill("#text", line);
    await page.press("#text", "Enter");
    lines.push(line);
  };
  const both = async () => {
    for (const page of [first, second]) await becomes("the chat", lines, () => said(page));
  };
  for (const page of [first, second]) await is(page, "live");
  await type(first, "hello");
  await both();
  await type(second, "hello to you");
  await both();

  await order("stop");
  await is(first, "waiting");
  await type(first, "is anybody there?");
  await becomes("it to be kept", ["is anybody there?"], () => texts(first, "#outgoing .what"));
  await first.close();
  first = await tab(ada, context);
  await order("start");
  await both();

  const beside = await tab(ada, context);
  await becomes("the same once more", lines, () => said(beside));
  await order("dinner");
  lines.push("dinner is ready");
  await both();
  await becomes("the same once more", lines, () => said(beside));
});
