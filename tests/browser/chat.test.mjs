// A chat room in two browsers: the same order for all, once each, whatever breaks between typing and reading.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { asks, becomes, browser, end, is, mortal, order, register, said, tab, texts, until } from "./scene.mjs";

after(end);
afterEach(() => order("pass"));

let count = 0;
/** A room with a history, and a browser for each user. */
async function room(...users) {
  const group = `room-${++count}-${process.pid}`;
  await asks("PUT", `/v1/groups/${group}`, { publish: "members", history: 100 });
  const people = [];
  for (const user of users) {
    const registered = await register({ user, rooms: [group] });
    people.push({ ...registered, page: await tab(registered.link) });
  }
  for (const { page } of people) await is(page, "live");
  return { group, people, pages: people.map(({ page }) => page) };
}

async function type(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const shows = (page, expected, ms) => becomes("what was said", expected, () => said(page), ms);
const here = (page) => texts(page, "#here li");
const pending = (page) => texts(page, "#outgoing .message.pending .what");
const nobodyWaits = (page) => becomes("nothing to be sent any more", 0, () => page.locator("#outgoing .message").count());

test("what two people say at the same time has one order, and each sees his own", async () => {
  const { pages } = await room("ada", "ben");
  const lines = (who) => Array.from({ length: 12 }, (_, at) => `${who} ${at + 1}`);
  await Promise.all(["ada", "ben"].map(async (who, at) => {
    for (const line of lines(who)) await type(pages[at], line);
  }));
  for (const page of pages) await until("all 24", async () => (await said(page)).length === 24);
  const [ada, ben] = [await said(pages[0]), await said(pages[1])];
  assert.deepEqual(ada, ben, "the same order");
  for (const who of ["ada", "ben"]) assert.deepEqual(ada.filter((line) => line.startsWith(who)), lines(who), "as they were typed");
  for (const page of pages) await nobodyWaits(page);
  assert.equal(await pages[0].locator("#messages .own").count(), 12);
  assert.match((await texts(pages[0], "#messages .message:not(.own) .about"))[0], /^ben/);
  for (const page of pages) assert.deepEqual(page.faults, []);
});

test("text stays text, whoever types it", async () => {
  const { pages } = await room("ada", "ben");
  const nasty = `<b onclick="x">&amp;</b> <img src=x onerror=alert(1)> \u202e👋`;
  await type(pages[0], nasty);
  for (const page of pages) {
    await shows(page, [nasty]);
    assert.equal(await page.locator("#messages b, #messages img").count(), 0);
  }
});

test("who types is told to the others, until the message is there", async () => {
  const { pages: [ada, ben] } = await room("ada", "ben");
  for (const page of [ada, ben]) await until("both to be there", async () => (await here(page)).length === 2);
  await ada.locator("#text").pressSequentially("hel");
  await until("ben to be told", async () => /ada is typing/.test(await ben.textContent("#typing")));
  assert.equal(await ada.textContent("#typing"), "", "nobody is told of himself");
  await ada.locator("#text").press("Enter");
  await shows(ben, ["hel"]);
  await becomes("it to be over", "", () => ben.textContent("#typing"), 5_000);
});

test("who is there is shown, and who has left is not", async () => {
  const { pages: [ada, ben], people } = await room("ada", "ben");
  const both = people.map(({ device }, at) => `${["ada", "ben"][at]} (${device})`);
  await becomes("both", both, () => here(ada));
  await becomes("both", both, () => here(ben));
  await ben.close();
  await becomes("ada alone", both.slice(0, 1), () => here(ada), 30_000);
  await order("refuse");
  await is(ada, "waiting");
  assert.deepEqual(await here(ada), ["Not known without a connection"]);
  await order("pass");
  await becomes("ada again", both.slice(0, 1), () => here(ada));
});

test("who comes in later reads what was said before", async () => {
  const { group, pages: [ada] } = await room("ada");
  for (const line of ["one", "two", "three"]) await type(ada, line);
  await nobodyWaits(ada);
  await asks("POST", `/v1/groups/${group}/messages`, { text: "from the shop" });
  const late = await register({ user: "cem", rooms: [group] });
  const page = await tab(late.link);
  await shows(page, ["one", "two", "three", "from the shop"]);
  await type(page, "four");
  for (const each of [ada, page]) await shows(each, ["one", "two", "three", "from the shop", "four"]);
});

test("what is written without a connection goes out once when it is back, in order", async () => {
  const { pages: [ada, ben] } = await room("ada", "ben");
  await order("refuse");
  await is(ada, "waiting");
  for (const line of ["one", "two", "three"]) await type(ada, line);
  await becomes("all to wait", ["one", "two", "three"], () => pending(ada));
  // It is on the disk: the tab may go.
  await ada.reload();
  await becomes("all to wait still", ["one", "two", "three"], () => pending(ada));
  await order("pass");
  for (const page of [ada, ben]) await shows(page, ["one", "two", "three"]);
  await nobodyWaits(ada);
});

test("an answer that is lost makes no second message", async () => {
  const { pages: [ada, ben] } = await room("ada", "ben");
  await order("deaf");
  await type(ada, "once");
  await becomes("it to wait", ["once"], () => pending(ada));
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // the hub has it by now, and its answer is on the way for ever
  await order("refuse");
  await is(ada, "waiting");
  await order("pass");
  await type(ada, "and then");
  for (const page of [ada, ben]) await shows(page, ["once", "and then"]);
  await nobodyWaits(ada);
});

test("what was typed in a tab that is gone is sent by the other", async () => {
  const { people: [{ link }], pages: [ada, ben] } = await room("ada", "ben");
  const beside = await tab(link, ada.context());
  await is(beside, "live");
  await type(beside, "from the tab that follows");
  for (const page of [ada, beside, ben]) await shows(page, ["from the tab that follows"]);
  await order("refuse");
  await is(beside, "waiting");
  await type(ada, "from the tab that leads");
  await becomes("it to wait in both", ["from the tab that leads"], () => pending(beside));
  await ada.close();
  await order("pass");
  for (const page of [beside, ben]) await shows(page, ["from the tab that follows", "from the tab that leads"]);
});

test("a browser that is killed has what it had, and sends what was typed", async () => {
  const { group, pages: [ben] } = await room("ben");
  const { link } = await register({ user: "ada", rooms: [group] });
  const profile = mkdtempSync(join(process.cwd(), "profile-"));
  const first = await mortal(profile);
  const ada = await tab(link, first.context);
  await is(ada, "live");
  for (const line of ["one", "two"]) await type(ada, line);
  for (const page of [ada, ben]) await shows(page, ["one", "two"]);
  await order("refuse");
  await is(ada, "waiting");
  await type(ada, "three");
  await becomes("it to be kept", ["three"], () => pending(ada));
  await first.kill();
  const second = await mortal(profile);
  const again = await tab(link, second.context);
  // Without a connection: it is all there.
  await shows(again, ["one", "two"]);
  assert.deepEqual(await pending(again), ["three"]);
  await order("pass");
  for (const page of [again, ben]) await shows(page, ["one", "two", "three"]);
  await second.kill();
  rmSync(profile, { recursive: true, force: true });
});

test("a hub that is killed while people talk loses nothing and doubles nothing", async () => {
  const { pages } = await room("ada", "ben");
  const lines = Array.from({ length: 10 }, (_, at) => `line ${at + 1}`);
  for (const [at, line] of lines.entries()) {
    await type(pages[at % 2], line);
    if (at === 4) await order("kill");
    if (at === 7) await order("start");
  }
  for (const page of pages) await until("all ten", async () => (await said(page)).length >= 10);
  const [ada, ben] = [await said(pages[0]), await said(pages[1])];
  assert.deepEqual(ada, ben);
  assert.deepEqual([...ada].sort(), [...lines].sort());
});

test("what is refused is said, and can be dismissed", async () => {
  const { group, people: [{ device }], pages: [ada, ben] } = await room("ada", "ben");
  await type(ada, "while I am here");
  await shows(ben, ["while I am here"]);
  await asks("DELETE", `/v1/groups/${group}/members/${device}`);
  await type(ada, "when I am not");
  await until("the refusal", async () => (await texts(ada, "#outgoing .refused .about")).some((text) => text.startsWith("not sent: ")));
  await ada.click("#outgoing .refused button");
  await nobodyWaits(ada);
  assert.deepEqual(await said(ben), ["while I am here"]);
});
