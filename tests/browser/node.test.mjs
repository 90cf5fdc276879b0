// The device in Node, against a real hub: the same modules that the page has.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import WebSocket from "ws";
import { asks, becomes, end, order, register, send, until } from "./scene.mjs";

const { Device, MemorySeen } = await import(process.env.WARREN_CLIENT);

after(end);

/** A device that keeps what it gets in `got`. */
function device({ device, token }, more = {}) {
  const got = [];
  const made = new Device({
    url: process.env.WARREN_NETWORK, device, token: () => token, WebSocket, seen: new MemorySeen(),
    handle: ({ data }) => void got.push(data.number ?? data.text), ...more,
  });
  made.open();
  return Object.assign(made, { got });
}

test("it gets what was sent while it was away, while it is there, and while the hub was killed", async () => {
  const registered = await register();
  const ids = [];
  const sends = async (number) => ids.push((await send(registered.device, { number })).id);
  for (const number of [1, 2, 3]) await sends(number);
  const phone = device(registered);
  await becomes("the first", [1, 2, 3], () => phone.got);
  await sends(4);
  await order("kill");
  await order("start");
  await sends(5);
  await becomes("all", [1, 2, 3, 4, 5], () => phone.got);
  for (const id of ids) {
    await until("its receipt", async () => (await asks("GET", `/v1/messages/${id}`)).devices[0].state === "delivered");
  }
  phone.close();
});

test("a message whose handler fails comes again, and one that is good for nothing is told to its sender", async () => {
  const registered = await register();
  const { Reject } = await import(process.env.WARREN_CLIENT);
  const got = [];
  let fails = 1;
  const phone = device(registered, {
    handle: ({ data: { number } }) => {
      if (number === 2 && fails-- > 0) throw new Error("not now");
      if (number === 3) throw new Reject("no such screen");
      got.push(number);
    },
  });
  await send(registered.device, { number: 1 });
  await send(registered.device, { number: 2 });
  const { id } = await send(registered.device, { number: 3 });
  await send(registered.device, { number: 4 });
  await becomes("what can be done", [1, 2, 4], () => [...got].sort());
  const dropped = await until("its end", async () => (await asks("GET", `/v1/messages/${id}`)).devices.find(({ state }) => state === "dropped"));
  assert.equal(dropped.detail, "no such screen");
  phone.close();
});

test("two devices talk in a room, and read back what was said", async () => {
  const group = `node-${process.pid}`;
  await asks("PUT", `/v1/groups/${group}`, { publish: "members", history: 10 });
  const [ada, ben] = [device(await register({ user: "ada", rooms: [group] })), device(await register({ user: "ben", rooms: [group] }))];
  let here = [];
  ada.on("presence", (presence) => (here = presence.here.map(({ user }) => user).sort()));
  ada.watch([group]);
  await becomes("both to be there", ["ada", "ben"], () => here);
  const said = [];
  for (const [at, text] of ["one", "two", "three"].entries()) {
    const { answer } = await [ada, ben][at % 2].publish(group, { type: "chat.message", data: { text } });
    said.push({ id: await answer, text });
  }
  for (const each of [ada, ben]) await becomes("the talk", ["one", "two", "three"], () => each.got);
  const { messages, more } = await ben.requests.history(group, { limit: 2 });
  assert.deepEqual([messages.map(({ id, data: { text } }) => ({ id, text })), more], [said.slice(1), true]);
  assert.deepEqual(await ben.requests.rooms(), [{ group, publish: true, history: 10 }]);
  const { members } = await ben.requests.members(group);
  assert.deepEqual(members.map(({ user, present }) => [user, present]).sort(), [["ada", true], ["ben", true]]);
  for (const each of [ada, ben]) each.close();
});
