// What the tests of the page have in common: a browser, the team's back end, and the test in Rust that owns the hub and the network.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

const { WARREN_HUB: hub, WARREN_NETWORK: network, WARREN_OWNER: owner, WARREN_CONTROL: control, WARREN_PAGE: page } = process.env;
/** On a busy machine. */
const LONG = 120_000;

const browsers = [
  process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const executablePath = browsers.find((path) => path && existsSync(path));
assert.ok(executablePath, "there is no Chromium: run scripts/install-test-tools, or name one in CHROMIUM");
// Chromium has no sandbox for root.
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
export const browser = await chromium.launch({ executablePath, args, timeout: LONG });
const mortals = new Set();

/** Nothing is left that a test has started. */
export async function end() {
  for (const child of mortals) child.kill("SIGKILL");
  await browser.close();
}

/** Another browser with a profile on the disk, which can be killed and started again. */
export async function mortal(profile) {
  const own = [`--user-data-dir=${profile}`, "--headless", "--remote-debugging-port=0", "--no-first-run"];
  const child = spawn(executablePath, [...args, ...own], { stdio: ["ignore", "ignore", "pipe"] });
  mortals.add(child);
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  const [, address] = await until("Chromium to listen", () => /DevTools listening on (\S+)/.exec(said) ?? undefined);
  const connected = await chromium.connectOverCDP(address, { timeout: LONG });
  const kill = async () => {
    mortals.delete(child);
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  return { context: connected.contexts()[0], kill };
}

/** Has the test in Rust do something: `kill` and `start` the hub, have its network `pass`, `refuse`, `hang` (everything is
 * swallowed), or be
 * `deaf` (what the hub says is) or `mute` (what the page says is). */
export function order(what) {
  const [host, port] = control.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => socket.end(`${what}\n`));
    let answer = "";
    socket.on("data", (data) => (answer += data)).on("error", reject);
    socket.on("close", () => (answer === "done\n" ? resolve() : reject(new Error(`${what}: ${answer}`))));
  });
}

/** A request of the back end, past the network that breaks, as often as it takes. */
export async function asks(method, path, body, expected = [200, 201, 202, 204]) {
  const headers = { Authorization: `Bearer ${owner}`, "Content-Type": "application/json" };
  return until(`${method} ${path}`, async () => {
    const answer = await fetch(hub + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }).catch(() => undefined);
    if (!answer || answer.status >= 500) return undefined;
    assert.ok(expected.includes(answer.status), `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.status === 204 ? {} : await answer.json();
  });
}

export const send = (device, data) => asks("POST", `/v1/devices/${device}/messages`, data);

let count = 0;
/** A device of its own, in the rooms named; its link. */
export async function register({ user, rooms = [], room = rooms[0] } = {}) {
  const device = `device-${++count}-${process.pid}`;
  const { token } = await asks("PUT", `/v1/devices/${device}`, { user: user ?? `user-${count}` });
  for (const group of rooms) await asks("PUT", `/v1/groups/${group}/members/${device}`);
  return { device, token, link: link({ device, token, room }) };
}

export const link = ({ device, token, room }) =>
  `${page}/#${new URLSearchParams({ hub: network, device, token, ...(room ? { room } : {}) })}`;

/** A tab, and what went wrong in it. `within`: a context, as a browser profile is one; a new one unless told. */
export async function tab(link, within) {
  const context = within ?? (await browser.newContext());
  context.setDefaultTimeout(LONG);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedHTML/.test(message.text())) page.faults.push(message.text());
  });
  await page.goto(link);
  return page;
}

/** Waits until `look` gives something. */
export async function until(what, look, ms = LONG) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

/** Waits until `look` gives exactly this. */
export async function becomes(what, expected, look, ms = LONG) {
  let last;
  await until(what, async () => {
    last = await look();
    return JSON.stringify(last) === JSON.stringify(expected);
  }, ms).catch((error) => assert.deepEqual(last, expected, error.message));
}

export const state = (page) => page.getAttribute("#state", "data-state");
export const is = (page, expected, ms) => becomes(`a tab to be ${expected}`, expected, () => state(page), ms);

/** The texts of what fits, in order. */
export const texts = (page, selector) => page.locator(selector).allTextContents();
/** Numbers of what came to the device alone, the oldest first. */
export const numbers = async (page) => (await texts(page, "#own .what")).map((text) => JSON.parse(text).number).reverse();
export const shows = (page, expected, ms) => becomes("the messages", expected, () => numbers(page), ms);

/** What was said in the room, in its order. */
export const said = (page) => texts(page, "#messages .what");
