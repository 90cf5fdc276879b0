// A device in a browser: what it shows when the network, the tab, the browser's other tabs or the hub come and go.

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { asks, becomes, browser, end, is, link, numbers, order, register, send, shows, state, tab, texts, until } from "./scene.mjs";

after(end);
afterEach(() => order("pass"));

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);
const sends = async (device, from, to) => {
  for (const number of range(from, to)) await send(device, { number });
};

test("messages are shown as text, and the link leaves the address", async () => {
  const { device, link } = await register();
  const page = await tab(link);
  await is(page, "live");
  assert.equal(new URL(page.url()).hash, "", "no token is in the address");
  await send(device, { number: 1, html: "<img src=x onerror=alert(1)><script>alert(2)</script>" });
  await shows(page, [1]);
  assert.match((await texts(page, "#own .what"))[0], /<img src=x/);
  assert.equal(await page.locator("#own img, #own script").count(), 0);
  // What is on the page stays there when it is loaded anew.
  await page.reload();
  await is(page, "live");
  await shows(page, [1]);
  assert.deepEqual(page.faults, []);
});

test("what was sent while the network was cut comes once and in order", async () => {
  const { device, link } = await register();
  const page = await tab(link);
  await is(page, "live");
  await sends(device, 1, 2);
  await shows(page, [1, 2]);
  await order("refuse");
  await is(page, "waiting");
  await sends(device, 3, 8);
  assert.deepEqual(await numbers(page), [1, 2]);
  await order("pass");
  await shows(page, range(1, 8));
  await sends(device, 9, 9);
  await shows(page, range(1, 9));
});

test("what comes again because its ack was lost is shown once, also by a tab that was opened since", async () => {
  const { device, link } = await register();
  const first = await tab(link);
  await is(first, "live");
  await order("mute");
  await sends(device, 1, 3);
  await shows(first, [1, 2, 3]);
  await order("refuse");
  const waiting = async () => (await asks("GET", `/v1/devices/${device}`)).backlog;
  assert.equal(await waiting(), 3, "no ack has come");
  await first.close();
  const second = await tab(link, first.context());
  await shows(second, [1, 2, 3]);
  await order("pass");
  await becomes("the acks", 0, waiting);
  await sends(device, 4, 4);
  await shows(second, [1, 2, 3, 4]);
});

test("a connection that hangs is given up, and a browser that is offline says so", async () => {
  const { device, link } = await register();
  const page = await tab(link);
  await is(page, "live");
  await order("hang");
  await page.context().setOffline(true);
  await sends(device, 1, 3);
  await is(page, "waiting", 15_000);
  await order("pass");
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.notEqual(await state(page), "live", "the browser lets nothing through");
  await page.context().setOffline(false);
  // Not after a back-off that has grown meanwhile: the browser has said that the network is there.
  await is(page, "live", 5_000);
  await shows(page, [1, 2, 3]);
});

test("a tab that is closed and opened again has lost nothing and shows nothing twice", async () => {
  const { device, link } = await register();
  const first = await tab(link);
  await sends(device, 1, 3);
  await shows(first, [1, 2, 3]);
  await first.close();
  await sends(device, 4, 6);
  const second = await tab(link, first.context());
  await shows(second, range(1, 6));
  // In the middle of it, again and again.
  let context = second.context(), open = second;
  for (const number of range(7, 12)) {
    const sent = send(device, { number });
    await open.close({ runBeforeUnload: false });
    [open] = [await tab(link, context), await sent];
  }
  await shows(open, range(1, 12));
});

/** Two tabs of one device: the one that has the connection, and the other. */
async function two() {
  const { device, link } = await register();
  const first = await tab(link);
  await is(first, "live");
  const second = await tab(link, first.context());
  await is(second, "live");
  const held = async (page) => (await page.textContent("#held")) === "this tab";
  assert.deepEqual([await held(first), await held(second)], [true, false]);
  return { device, link, first, second, held };
}

test("two tabs show the same by one session, and when the one that has it is closed the other goes on", async () => {
  const { device, link, first, second, held } = await two();
  assert.equal(await first.textContent("#session"), await second.textContent("#session"));
  await sends(device, 1, 5);
  await shows(first, range(1, 5));
  await shows(second, range(1, 5));
  const sent = sends(device, 6, 15);
  await first.close();
  await sent;
  await shows(second, range(1, 15), 10_000);
  assert.ok(await held(second));
  const third = await tab(link, second.context());
  await shows(third, range(1, 15));
  await is(third, "live");
  assert.equal(await held(third), false);
  assert.deepEqual([second.faults, third.faults], [[], []]);
});

test("a tab that has the connection and dies leaves it to the other, and nothing is lost", async () => {
  const { device, first, second, held } = await two();
  const debug = await first.context().newCDPSession(first);
  const sent = sends(device, 1, 20);
  await shows(second, [1]).catch(() => undefined);
  void debug.send("Page.crash").catch(() => undefined);
  await sent;
  await shows(second, range(1, 20), 15_000);
  await until("the other tab to have the connection", () => held(second));
});

test("a tab that has the connection and hangs is passed over by one that is looked at", async () => {
  const { device, first, second, held } = await two();
  const hanging = first.evaluate(() => {
    for (const end = Date.now() + 10_000; Date.now() < end; );
  });
  await sends(device, 1, 2);
  await second.evaluate(() => void document.dispatchEvent(new Event("visibilitychange")));
  await until("the other tab to have the connection", () => held(second), 8_000);
  await shows(second, [1, 2]);
  await hanging;
  await shows(first, [1, 2]);
  await sends(device, 3, 3);
  for (const page of [first, second]) await shows(page, [1, 2, 3]);
  await becomes("one to have the connection", [false, true], async () => [await held(first), await held(second)]);
  for (const page of [first, second]) await is(page, "live");
});

test("a hub that is killed and started again has its messages shown once", async () => {
  const { device, link } = await register();
  const page = await tab(link);
  await is(page, "live");
  await sends(device, 1, 5);
  await order("kill");
  await is(page, "waiting");
  await order("start");
  await sends(device, 6, 10);
  await shows(page, range(1, 10));
});

test("a device that is opened elsewhere says so, and comes back when it is told to", async () => {
  const { device, link } = await register();
  const here = await tab(link);
  const beside = await tab(link, here.context());
  await is(beside, "live");
  const there = await tab(link);
  await is(there, "live");
  for (const page of [here, beside]) {
    await is(page, "displaced");
    assert.match(await page.textContent("#state-text"), /In use elsewhere/);
  }
  await sends(device, 1, 1);
  await shows(there, [1]);
  assert.equal(await state(there), "live", "nobody takes it back by himself");
  await beside.click("#come-back");
  await is(there, "displaced");
  await is(here, "live");
  await sends(device, 2, 2);
  await shows(here, [2]); // the first was had elsewhere
  await shows(beside, [2]);
});

test("a token that is not good is refused in words, and a fresh link helps", async () => {
  const { device, token } = await register();
  const page = await tab(link({ device, token: `${token}x` }));
  await is(page, "refused");
  assert.match(await page.textContent("#state-text"), /Refused.*fresh link/);
  const other = await tab(link({ device, token }), page.context());
  await is(other, "live");
  await is(page, "live");
  await asks("POST", `/v1/devices/${device}/revoke`);
  await is(other, "refused");
  await becomes("the words of the other tab", true, async () => /Refused/.test(await page.textContent("#state-text")));
});
