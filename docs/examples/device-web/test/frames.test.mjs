// Frames, payloads and codes against docs/device-protocol/vectors.json.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Backoff, band, frames } from "warren-device";
import { dice } from "./fakes.mjs";

const path = process.env.WARREN_VECTORS ?? new URL("../../../device-protocol/vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8"));
const id = "0192f3c4-5b6a-7c8d-9e0f-112233445566";

const built = {
  hello: frames.hello("phone-1"),
  "hello with everything": frames.hello("phone-1", {
    token: "secret", window: { messages: 1, bytes: 4096 }, heartbeat_ms: 60000, seen: [id], agent: "shop-app/2.1",
  }),
  "ack up to": frames.ack({ up_to: 12 }),
  "ack some": frames.ack({ seqs: [9, 11] }),
  "ack up to and some": frames.ack({ up_to: 7, seqs: [9, 11] }),
  "ack an entry": frames.ack({ entry: 31 }),
  "ack a gap": frames.ack({ gap: 3 }),
  "nack later": frames.later(9, 5000),
  "nack reject": frames.reject(9, "no such screen"),
  read: frames.read([id]),
  publish: frames.publish("m-1", "room-7", "chat.message", frames.payload({ text: "hello" })),
  "publish bytes": frames.publish("A_2", "room-7", undefined, frames.payload(new Uint8Array([0, 1, 255]))),
  signal: frames.signal("room-7", "typing"),
  "signal with data": frames.signal("room-7", "cursor", { x: 1.5 }),
  watch: frames.watch(["room-7", "room-8"]),
  "watch nothing": frames.watch([]),
  ping: frames.PING,
  auth: frames.auth("another"),
  bye: frames.BYE,
};

test("the subprotocol and every frame of a client are those of the vectors", () => {
  assert.equal(frames.SUBPROTOCOL, vectors.subprotocol);
  assert.deepEqual(Object.keys(built).sort(), vectors.client.map(({ name }) => name).sort());
  for (const { name, text } of vectors.client) assert.deepEqual(built[name], JSON.parse(text), name);
});

test("no more is seen than a hello takes", () => {
  const { seen } = frames.hello("phone-1", { seen: Array.from({ length: 1000 }, (_, number) => String(number)) });
  assert.deepEqual([seen.length, seen[0], seen.at(-1)], [256, "744", "999"]);
});

test("payloads are what was sent", () => {
  for (const { name, text, payload, payload_base64, content_type } of vectors.deliver) {
    const { data, contentType } = frames.message(frames.decode(text));
    assert.equal(contentType, content_type, name);
    if (data instanceof Uint8Array) assert.deepEqual(Buffer.from(data), payload === undefined ? Buffer.from(payload_base64, "base64") : Buffer.from(payload), name);
    else if (content_type.startsWith("text/")) assert.equal(data, payload, name);
    else assert.deepEqual(data, JSON.parse(payload), name);
  }
});

test("bytes go out as they come in, of any length", () => {
  for (let length = 0; length < 300; length++) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 31 + length) % 256);
    assert.deepEqual(frames.data(frames.payload(bytes)), bytes);
  }
});

test("what the server would close for is not sent", () => {
  const refused = [
    ["a b", "room-7", 1], ["", "room-7", 1], ["a", "room-*", 1], ["a", "", 1], ["a", "room-7", "x".repeat(65_536)], ["a", "room-7", "\u20ac".repeat(22_000)],
    ["a", "room-7", [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]],
  ];
  for (const [ref, group, data] of refused) {
    assert.throws(() => frames.check(frames.publish(ref, group, "note", frames.payload(data))), RangeError, JSON.stringify([ref, group]));
  }
  frames.check(frames.publish("a", "room-7", "note", frames.payload([[[[[[[[[[[[[[[]]]]]]]]]]]]]]])));
  frames.check(frames.publish("a".repeat(64), "r".repeat(63), "note", frames.payload("x".repeat(65_000))));
  assert.equal(frames.signal("room-7", "typing", { half: "a\ud800b" }).data.half, "a\ufffdb");
});

test("a message has what the frame has, and nothing more", () => {
  const text = vectors.deliver.find(({ name }) => name === "again, with everything").text;
  assert.deepEqual(frames.message(frames.decode(text)), {
    id, seq: 7, type: "order.shipped", time: "2026-11-22T11:15:00Z", expires: "2026-11-23T11:15:00Z",
    collapseKey: "order-5", high: true, contentType: "application/json", data: 7,
  });
});

test("each close code has its band", () => {
  for (const { code, client } of [...vectors.closes, ...vectors.other_closes]) assert.equal(band(code), client, String(code));
});

test("waits are anything up to a limit that doubles, and begin anew after a session that held", () => {
  for (const { try: tries, most_ms: most } of vectors.backoff) {
    const roll = dice(tries + 1);
    for (let time = 0; time < 200; time++) {
      const backoff = new Backoff(roll);
      backoff.tries = tries;
      const wait = backoff.wait();
      assert.ok(wait >= 0 && wait < most, `${wait} of ${most}`);
    }
    const longest = new Backoff(() => 1);
    longest.tries = tries;
    assert.equal(longest.wait(), most);
  }
  const backoff = new Backoff();
  backoff.tries = 5;
  backoff.held(29_999);
  assert.equal(backoff.tries, 5);
  backoff.held(30_000);
  assert.equal(backoff.tries, 0);
});
