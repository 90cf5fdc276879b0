// A server for the tests: sockets that do what the test says, and a clock that goes when it is told to.

import { mock } from "node:test";

/** Everything that was promised so far is done. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Of this module's clock; `Date` goes along. */
export async function pass(ms) {
  await settle();
  mock.timers.tick(ms);
  await settle();
}

export class FakeSocket {
  static all = [];
  static get last() {
    return FakeSocket.all.at(-1);
  }

  protocol = "warren.device.v1";
  said = [];
  closed = false;
  #listeners = {};

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeSocket.all.push(this);
  }

  addEventListener(type, listener) {
    (this.#listeners[type] ??= []).push(listener);
  }

  send(text) {
    if (this.closed) throw new Error("it is closed");
    this.said.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  // What the server does.

  tell(type, event = {}) {
    for (const listener of this.#listeners[type] ?? []) listener(event);
  }

  async says(...frames) {
    for (const frame of frames) this.tell("message", { data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    await settle();
  }

  async welcomes(more = {}) {
    this.tell("open");
    await this.says({ frame: "welcome", session: "s", window: { messages: 16, bytes: 262144 }, heartbeat_ms: 25000, time: "2026-11-22T11:15:00Z", ...more });
  }

  async ends(code, reason = "") {
    this.tell("close", { code, reason });
    await settle();
  }

  /** What was said since the last time somebody asked. */
  heard() {
    return this.said.splice(0);
  }
}

export const uuid = (number) => `0192f3c4-5b6a-7c8d-9e0f-${String(number).padStart(12, "0")}`;
const common = (number) => ({ frame: "deliver", id: uuid(number), type: "note", time: "2026-11-22T11:15:00Z", content_type: "application/json", data: { number } });
export const own = (number, more = {}) => ({ ...common(number), seq: number, ...more });
export const grouped = (number, more = {}) => ({ ...common(number), entry: number, group: "room-7", ...more });

/** Numbers from 0 to below 1, the same for each seed. */
export function dice(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
