// A device against a server that the test plays, by a clock that the test moves.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Device, MemorySeen, Refused, Reject, StorageSeen } from "warren-device";
import { dice, FakeSocket, grouped, own, pass, settle, uuid } from "./fakes.mjs";

const vectors = JSON.parse((await import("node:fs")).readFileSync(process.env.WARREN_VECTORS ?? new URL("../../../device-protocol/vectors.json", import.meta.url), "utf8"));

let got, states, made;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.all = [];
  [got, states, made] = [[], [], []];
});
afterEach(() => {
  for (const device of made) device.close();
  mock.timers.reset();
});

async function open(more = {}) {
  const device = new Device({
    url: "http://hub.test:8080/", device: "phone-1", token: () => "secret", WebSocket: FakeSocket,
    handle: ({ data }) => void got.push(data.number), random: () => 0.5, ...more,
  });
  made.push(device);
  device.on("state", (state) => states.push(state));
  device.open();
  await settle();
  return device;
}

async function live(more) {
  const device = await open(more);
  await FakeSocket.last.welcomes();
  FakeSocket.last.heard();
  return device;
}

/** A new connection after the last one was lost. */
async function back() {
  const before = FakeSocket.all.length;
  await FakeSocket.last.ends(1006);
  await pass(60_000);
  assert.equal(FakeSocket.all.length, before + 1);
  await FakeSocket.last.welcomes();
  return FakeSocket.last.heard();
}

const name = () => states.at(-1).name;

test("it says hello, is welcomed, and leaves with a bye", async () => {
  const device = await open();
  const socket = FakeSocket.last;
  assert.deepEqual([socket.url, socket.protocols], ["ws://hub.test:8080/v1/device/socket", ["warren.device.v1"]]);
  await socket.welcomes();
  assert.deepEqual(socket.heard(), [{ frame: "hello", version: 1, device: "phone-1", token: "secret", window: { messages: 16, bytes: 262144 } }]);
  assert.deepEqual(states, [{ name: "connecting" }, { name: "live", session: "s" }]);
  device.close();
  assert.deepEqual([socket.heard(), socket.closed, name()], [[{ frame: "bye" }], true, "closed"]);
  await pass(120_000);
  assert.equal(FakeSocket.all.length, 1);
});

test("each frame of the server is taken, and those to come are skipped", async () => {
  await live();
  const told = [...vectors.server, ...vectors.deliver.map(({ text }) => ({ text }))].map(({ text }) => text);
  await FakeSocket.last.says(...told.filter((text) => !text.includes("welcome")), vectors.unknown_server_frame, { frame: "deliver", ...own(99), mood: 1 });
  assert.deepEqual([name(), got.at(-1)], ["live", 99]);
});

test("acks come after the effect, in order, and are gathered", async () => {
  const release = [];
  await live({ handle: () => new Promise((resolve) => release.push(resolve)) });
  await FakeSocket.last.says(own(1), own(2), own(3), grouped(8));
  assert.deepEqual([release.length, FakeSocket.last.heard()], [2, []], "one of each lane is being handled");
  release[1]();
  await settle();
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ack", entry: 8 }]);
  release[0]();
  await settle();
  assert.deepEqual(FakeSocket.last.heard(), [], "more is in hand");
  release[2]();
  await settle();
  release[3]();
  await settle();
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ack", up_to: 3 }]);
});

test("half of a window is acked while the rest is in hand, and so is what took its time", async () => {
  const release = [];
  await live({ handle: () => new Promise((resolve) => release.push(resolve)) });
  await FakeSocket.last.says(...Array.from({ length: 16 }, (_, at) => own(at + 1)));
  for (let at = 0; at < 8; at++) {
    release[at]();
    await settle();
  }
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ack", up_to: 8 }]);
  await pass(1_000);
  release[8]();
  await settle();
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ack", up_to: 9 }]);
});

test("a copy is acked and not handled, also one that comes while the first is being handled", async () => {
  const release = [];
  await live({ handle: ({ data }) => new Promise((resolve) => release.push(() => resolve(got.push(data.number)))) });
  await FakeSocket.last.says(own(1), own(2));
  const hello = (await back()).find(({ frame }) => frame === "hello");
  assert.equal(hello.seen, undefined, "nothing was handled yet");
  await FakeSocket.last.says(own(1, { dup: true }), own(2, { dup: true }));
  release[0]();
  await settle();
  assert.deepEqual([release.length, FakeSocket.last.heard()], [2, []], "the copy of the first was known");
  release[1]();
  await settle();
  assert.deepEqual([got, FakeSocket.last.heard()], [[1, 2], [{ frame: "ack", up_to: 2 }]]);
  assert.deepEqual((await back())[0].seen, [uuid(1), uuid(2)]);
});

test("a message whose handler fails is put off, and nothing acks it by the way", async () => {
  let fails = 2;
  await live({
    handle: ({ data }) => {
      if (data.number === 2 && fails-- > 0) throw new Error("not now");
      got.push(data.number);
    },
  });
  await FakeSocket.last.says(own(1), own(2), own(3));
  assert.deepEqual(FakeSocket.last.heard(), [
    { frame: "nack", seq: 2, how: "later", delay_ms: 1000 }, { frame: "ack", up_to: 1 }, { frame: "ack", seqs: [3] },
  ]);
  await FakeSocket.last.says(own(2, { dup: true }));
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "nack", seq: 2, how: "later", delay_ms: 2000 }]);
  await FakeSocket.last.says(own(2, { dup: true }), own(4));
  const acked = FakeSocket.last.heard().flatMap(({ seqs = [], up_to }) => [...seqs, ...(up_to === undefined ? [] : [up_to])]);
  assert.deepEqual([got, acked.sort()], [[1, 3, 2, 4], [4]]);
});

test("a message that is good for nothing is rejected with the reason", async () => {
  await live({
    handle: () => {
      throw new Reject("no such screen");
    },
  });
  await FakeSocket.last.says(own(1), grouped(5));
  assert.deepEqual(FakeSocket.last.heard().sort((a, b) => a.frame.localeCompare(b.frame)), [
    { frame: "ack", entry: 5 }, { frame: "nack", seq: 1, how: "reject", reason: "no such screen" },
  ]);
});

test("what is for a group waits for one that fails, in order", async () => {
  let fails = 2;
  const device = await live({
    handle: ({ data }) => {
      if (fails-- > 0) throw new Error("not now");
      got.push(data.number);
    },
  });
  let failures = 0;
  device.on("failed", () => failures++);
  await FakeSocket.last.says(grouped(1), grouped(2));
  assert.deepEqual([got, FakeSocket.last.heard()], [[], []]);
  await pass(1_000);
  assert.deepEqual(got, []);
  await pass(2_000);
  assert.deepEqual([got, failures, FakeSocket.last.heard()], [[1, 2], 2, [{ frame: "ack", entry: 1 }, { frame: "ack", entry: 2 }]]);
});

test("a gap is acked once the state was fetched, before what follows", async () => {
  let fetched;
  await live({ gap: () => new Promise((resolve) => (fetched = resolve)) });
  await FakeSocket.last.says({ frame: "gap", number: 3, reason: "overflow" }, own(9));
  assert.deepEqual([got, FakeSocket.last.heard()], [[], []]);
  fetched();
  await settle();
  assert.deepEqual([got, FakeSocket.last.heard()], [[9], [{ frame: "ack", gap: 3 }, { frame: "ack", up_to: 9 }]]);
});

test("what was taken back and not begun is not handled", async () => {
  let release;
  await live({ handle: ({ data }) => (got.push(data.number), new Promise((resolve) => (release = resolve))) });
  await FakeSocket.last.says(own(1), own(2), own(3), { frame: "cancel", ids: [uuid(2)], reason: "cancelled" });
  release();
  await settle();
  release();
  await settle();
  assert.deepEqual([got, FakeSocket.last.heard()], [[1, 3], [{ frame: "ack", up_to: 3 }]]);
});

test("it pings when it has nothing else to say, and is gone 10 s after one that nobody answers", async () => {
  await live();
  await pass(25_000);
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ping" }]);
  await FakeSocket.last.says({ frame: "pong" });
  await pass(24_000);
  assert.deepEqual(FakeSocket.last.heard(), []);
  await pass(1_000);
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "ping" }]);
  await pass(9_999);
  assert.equal(name(), "live");
  await pass(1);
  assert.deepEqual([name(), states.at(-1).detail, FakeSocket.last.closed], ["waiting", "no answer to a ping", true]);
});

test("it does not wait for ever for a server that says nothing", async () => {
  await open();
  await pass(10_000);
  assert.equal(name(), "waiting");
  await pass(1_000);
  FakeSocket.last.tell("open");
  await pass(10_000);
  assert.deepEqual([name(), FakeSocket.all.length], ["waiting", 2]);
});

test("it comes back with full jitter, and anew after a session that held", async () => {
  await open({ random: () => 0.999 });
  const waits = [];
  for (let time = 0; time < 9; time++) {
    await FakeSocket.last.ends(1006);
    waits.push(states.at(-1).until - Date.now());
    await pass(60_000);
  }
  assert.deepEqual(waits.map((wait) => Math.round(wait / 0.999)), [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
  await FakeSocket.last.welcomes();
  await pass(30_000);
  await FakeSocket.last.says({ frame: "pong" });
  await FakeSocket.last.ends(4202);
  assert.equal(Math.round((states.at(-1).until - Date.now()) / 0.999), 500);
});

test("a goaway says when", async () => {
  await live();
  await FakeSocket.last.says({ frame: "goaway", after_ms: 2000, spread_ms: 10000 });
  await FakeSocket.last.ends(4201);
  assert.equal(states.at(-1).until - Date.now(), 7000);
  await pass(6_999);
  assert.equal(FakeSocket.all.length, 1);
  await pass(1);
  assert.equal(FakeSocket.all.length, 2);
});

test("each close code is gone by its hundreds", async () => {
  for (const { code, client } of [...vectors.closes, ...vectors.other_closes]) {
    const device = await live();
    await FakeSocket.last.ends(code, "why");
    if (client === "stop") {
      assert.equal(name(), code === 4409 ? "displaced" : "stopped", String(code));
      await pass(300_000);
      assert.equal(name(), code === 4409 ? "displaced" : "stopped", String(code));
      device.open();
      await settle();
      assert.equal(name(), "connecting", "unless it is told to");
    } else {
      assert.deepEqual([name(), states.at(-1).code, states.at(-1).detail], ["waiting", code, "why"]);
      await pass(60_000);
      // The same token once more would be refused once more.
      assert.equal(name(), client === "credentials" ? "refused" : "connecting", String(code));
    }
    device.close();
  }
});

test("it gets another token, and comes back with it", async () => {
  const asked = [];
  const tokens = ["first", "second"];
  await live({ token: (refused) => (asked.push(refused), tokens[asked.length - 1] ?? "second") });
  await FakeSocket.last.ends(4101);
  await pass(500);
  await FakeSocket.last.welcomes();
  assert.deepEqual([asked, FakeSocket.last.heard()[0].token, name()], [[undefined, 4101], "second", "live"]);
});

test("a token that cannot be had now is asked for again", async () => {
  let away = 3;
  await open({
    token: async () => {
      if (away-- > 0) throw new Error("the issuer is away");
      return "secret";
    },
  });
  assert.equal(name(), "waiting");
  await pass(10_000);
  await pass(10_000);
  await pass(10_000);
  await FakeSocket.last.welcomes();
  assert.equal(name(), "live");
});

const refs = (frames) => frames.filter(({ frame }) => frame === "publish").map(({ ref }) => ref);
const says = (ref) => ({ type: "chat.message", data: { text: ref }, ref });

test("what is published is sent again until it is answered, in order in each room", async () => {
  const device = await open();
  const first = await device.publish("room-7", says("a"));
  await device.publish("room-7", says("b"));
  await device.publish("room-8", says("c"));
  await FakeSocket.last.welcomes();
  assert.deepEqual(FakeSocket.last.heard().slice(1), [
    { frame: "publish", ref: "a", group: "room-7", type: "chat.message", content_type: "application/json", data: { text: "a" } },
    { frame: "publish", ref: "c", group: "room-8", type: "chat.message", content_type: "application/json", data: { text: "c" } },
  ]);
  assert.deepEqual(refs(await back()), ["a", "c"]);
  await FakeSocket.last.says({ frame: "published", ref: "a", id: uuid(1) });
  assert.equal(await first.answer, uuid(1));
  assert.deepEqual(refs(FakeSocket.last.heard()), ["b"]);
  await FakeSocket.last.says({ frame: "published", ref: "b", id: uuid(2) }, { frame: "published", ref: "c", id: uuid(3) });
  assert.deepEqual(refs(await back()), []);
});

test("a refusal that says when is tried again then, with those behind it; others are final", async () => {
  const device = await live();
  const { answer } = await device.publish("room-7", says("a"));
  const next = await device.publish("room-7", says("b"));
  await FakeSocket.last.says({ frame: "refused", ref: "a", code: "rate-limited", detail: "slower", retry_after_ms: 1200 });
  await pass(1_199);
  assert.deepEqual(refs(FakeSocket.last.heard()), ["a"]);
  await pass(1);
  assert.deepEqual(refs(FakeSocket.last.heard()), ["a"]);
  await FakeSocket.last.says({ frame: "refused", ref: "a", code: "store-unavailable", detail: "away", retry_after_ms: 1000 });
  await pass(3_000);
  assert.deepEqual(refs(FakeSocket.last.heard()), ["a"]);
  const told = [];
  device.on("answered", ({ publication, answer }) => told.push([publication.ref, answer]));
  await FakeSocket.last.says({ frame: "refused", ref: "a", code: "not-a-member", detail: "come in first" });
  await assert.rejects(answer, (error) => error instanceof Refused && error.code === "not-a-member");
  await FakeSocket.last.says({ frame: "published", ref: "b", id: uuid(2) });
  assert.equal(await next.answer, uuid(2));
  assert.deepEqual(told, [["a", { code: "not-a-member", detail: "come in first" }], ["b", { id: uuid(2) }]]);
});

test("what the server closes for is not sent again", async () => {
  const device = await live();
  const { answer } = await device.publish("room-7", says("a"));
  const next = await device.publish("room-7", says("b"));
  await FakeSocket.last.says({ frame: "error", code: "protocol-error", detail: "no such type" });
  await FakeSocket.last.ends(4400);
  await assert.rejects(answer, { code: "protocol-error", detail: "no such type" });
  assert.equal(name(), "stopped");
  device.open();
  await settle();
  await FakeSocket.last.welcomes();
  await FakeSocket.last.says({ frame: "published", ref: "b", id: uuid(2) });
  assert.equal(await next.answer, uuid(2));
});

test("what has waited for longer than its name is known is not sent", async () => {
  const device = await open();
  const { answer } = await device.publish("room-7", says("a"));
  await pass(7 * 24 * 3600 * 1000);
  await pass(60_000);
  await FakeSocket.last.welcomes();
  await assert.rejects(answer, { code: "too-old" });
  assert.deepEqual(refs(FakeSocket.last.heard()), []);
});

test("rooms are watched anew after each reconnect, and nobody is known to be there without one", async () => {
  const device = await live();
  const seen = [];
  device.on("presence", ({ here }) => seen.push(here.map(({ device }) => device)));
  device.watch(["room-7"]);
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "watch", groups: ["room-7"] }]);
  const room = { frame: "present", group: "room-7" };
  await FakeSocket.last.says(
    { ...room, here: [{ device: "a" }, { device: "b" }], all: true },
    { ...room, here: [{ device: "c" }], away: [{ device: "a" }] },
    { ...room, here: [{ device: "d" }], all: true },
  );
  assert.deepEqual((await back()).slice(1), [{ frame: "watch", groups: ["room-7"] }]);
  assert.deepEqual(seen, [["a", "b"], ["b", "c"], ["d"], []]);
});

test("signals go out on a connection, once the room is known", async () => {
  const device = await open();
  assert.equal(device.signal("room-7", "typing"), false);
  device.watch(["room-7"]);
  await FakeSocket.last.welcomes();
  FakeSocket.last.heard();
  assert.equal(device.signal("room-7", "typing"), false, "nobody was told of yet");
  await FakeSocket.last.says({ frame: "present", group: "room-7", all: true });
  assert.equal(device.signal("room-7", "typing", { on: true }), true);
  assert.deepEqual(FakeSocket.last.heard(), [{ frame: "signal", group: "room-7", type: "typing", data: { on: true } }]);
  let heard;
  device.on("signal", (signal) => (heard = signal));
  const signal = { group: "room-7", from: { device: "b" }, type: "typing" };
  await FakeSocket.last.says({ frame: "signal", ...signal });
  assert.deepEqual(heard, signal);
});

test("what was seen is remembered in a storage, the newest of it", () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const seen = new StorageSeen("seen", storage);
  for (let number = 0; number < 3000; number++) seen.add(String(number));
  const again = new StorageSeen("seen", storage);
  assert.deepEqual([again.has("0"), again.has("2999"), again.recent(2)], [false, true, ["2998", "2999"]]);
  assert.ok(again.recent(9999).length >= 512, "more than any two windows");
});

/** A server that keeps to the protocol, on a network that does not. */
class Server {
  constructor(messages, roll) {
    Object.assign(this, { messages, roll, unacked: new Map(messages.map((message) => [message.id, message])), given: [], putOff: new Set(), connections: 0 });
  }

  /** One thing that may happen. */
  async happens() {
    const socket = FakeSocket.last;
    // What is said is on its way for a while: it may cross with what the server says.
    if (socket === this.socket && this.roll() < 0.6) this.hear(socket);
    if (socket !== this.socket) {
      this.socket = socket;
      this.given = [];
      this.putOff.clear();
      await socket.welcomes({ window: { messages: 4, bytes: 262144 } });
      for (const id of socket.said[0].seen ?? []) this.unacked.delete(id);
      return;
    }
    const what = this.roll();
    if (what < 0.15) {
      // What was said and not heard yet is lost.
      await socket.ends(1006);
      await pass(60_000);
      this.connections += 1;
    } else if (what < 0.3) {
      await pass(this.roll() * 3000);
    } else {
      const again = [...this.putOff].find((seq) => this.given.some((message) => message.seq === seq && this.unacked.has(message.id)));
      const place = this.given.filter(({ id }) => this.unacked.has(id)).length < 4;
      const next = [...this.unacked.values()].find((message) => !this.given.includes(message));
      if (again !== undefined && this.roll() < 0.5) {
        this.putOff.delete(again);
        await socket.says({ ...this.given.find(({ seq }) => seq === again), dup: true });
      } else if (next && place) {
        this.given.push(next);
        await socket.says(next);
      }
    }
  }

  hear(socket) {
    for (const frame of socket.heard()) {
      const acked = (message) => frame.seqs?.includes(message.seq)
        || (message.seq <= frame.up_to && !this.putOff.has(message.seq)) || message.entry <= frame.entry;
      if (frame.frame === "ack") for (const message of this.given) if (acked(message)) this.end(message);
      if (frame.frame === "nack") this.putOff.add(frame.seq);
    }
  }

  end(message) {
    assert.ok(got.includes(message.data.number), `${message.data.number} was acked before it was handled`);
    this.unacked.delete(message.id);
  }
}

for (const [sort, make] of [["its own", own], ["a group's", grouped]]) {
  test(`whatever breaks, each of ${sort} messages is handled once, and acked after that`, async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const roll = dice(seed);
      got = [];
      FakeSocket.all = [];
      const server = new Server(Array.from({ length: 30 }, (_, at) => make(at + 1)), dice(seed * 7919));
      const device = await open({
        seen: new MemorySeen(), random: roll, window: { messages: 4, bytes: 262144 },
        handle: async ({ data }) => {
          const [fate, time] = [roll(), roll() * 2000];
          if (fate < 0.3) await new Promise((resolve) => setTimeout(resolve, time));
          if (fate > 0.9) throw new Error("not now");
          got.push(data.number);
        },
      });
      for (let step = 0; server.unacked.size && step < 2000; step++) await server.happens();
      device.close();
      const all = server.messages.map(({ data }) => data.number);
      assert.deepEqual([...got].sort((a, b) => a - b), all, `seed ${seed}`);
      if (make === grouped) assert.deepEqual(got, all, `in order, seed ${seed}`);
      assert.ok(server.connections > 0, `seed ${seed}`);
    }
  });
}
