// The page: what there is of a device, a room and who is in it, put on the screen. All text goes in as text, whatever it holds.

import { SharedDevice } from "/client/index.js";
import { credentials } from "./credentials.js";
import { element, find, list } from "./elements.js";
import { Room } from "./room.js";

const known = credentials();
if (known) await show(known);

/** @param {import("./credentials.js").Credentials} known */
async function show(known) {
  const { hub, device: id, room } = known;
  find("device").textContent = document.title = id;
  find("hub").textContent = hub;
  /** @type {Room | undefined} */
  let chat;
  /** @type {SharedDevice} */
  let device;
  try {
    device = await SharedDevice.open({ url: hub, device: id, token: () => known.token, watch: room ? [room] : [], gap: () => chat?.reload(), agent: "warren-page/1" });
  } catch (error) {
    find("state").dataset.state = "stopped";
    find("state-text").textContent = String(error);
    return;
  }
  chat = room ? new Room(device, room, id) : undefined;

  device.on("state", (state) => {
    find("state").dataset.state = state.name;
    find("state-text").textContent = words(state);
    find("session").textContent = state.name === "live" ? state.session : "none";
    find("held").textContent = device.leads ? "this tab" : "another tab";
    find("come-back").hidden = !["displaced", "refused", "stopped"].includes(state.name);
    if (state.name === "live") void chat?.connected();
    else if (room) here([], "Not known without a connection");
  });
  device.on("messages", (messages) => {
    for (const message of messages) {
      if (message.seq !== undefined || message.group !== room) own(message);
      else chat?.add([message]);
    }
  });
  device.on("presence", ({ group, here: members }) => {
    if (group === room && device.state.name === "live") here(members, "Nobody");
  });
  device.on("cancel", ({ ids }) => {
    for (const id of ids) document.querySelector(`[data-id="${CSS.escape(id)}"]`)?.classList.add("cancelled");
  });
  device.on("gap", ({ reason }) => {
    notice(`Some messages were dropped before this device had them (${reason}).`);
  });
  device.on("failed", ({ error }) => notice(`This browser could not keep a message: ${error}`));
  device.on("refused", ({ detail, group }) => {
    notice(detail);
    if (group === room) here([], "Not known: this device may not see it");
  });
  find("come-back").addEventListener("click", () => device.comeBack());
  await device.start();
}

/** @param {import("/client/index.js").State} state */
function words(state) {
  const detail = "detail" in state && state.detail ? `: ${state.detail}` : "";
  switch (state.name) {
    case "live":
      return "Connected";
    case "waiting":
      return `No connection, trying again${detail}`;
    case "refused":
      return `Refused${detail || ` (${state.code})`}. Open a fresh link.`;
    case "displaced":
      return "In use elsewhere: this device is connected from another place.";
    case "stopped":
      return `Stopped${detail || ` (${state.code})`}`;
    default:
      return "Connecting";
  }
}

/**
 * @param {readonly import("/client/index.js").Member[]} members
 * @param {string} otherwise
 */
function here(members, otherwise) {
  const names = members.map(({ device, user }) => element("li", { data: { device } }, user ? `${user} (${device})` : device));
  names.sort((a, b) => a.textContent.localeCompare(b.textContent));
  find("presence").hidden = false;
  list("here").replaceChildren(...(names.length ? names : [element("li", { class: "nobody" }, otherwise)]));
}

/** What is for this device alone, for all, or for a group that is not shown: the newest 50. */
function own(/** @type {import("/client/index.js").Kept} */ { id, type, data, time, group, cancelled }) {
  const about = [type, group, new Date(time).toLocaleTimeString()].filter(Boolean).join(" · ");
  const what = data instanceof Uint8Array ? `${data.length} bytes` : typeof data === "string" ? data : JSON.stringify(data);
  const item = element("li", { class: cancelled ? "cancelled" : "", data: { id } }, element("span", { class: "what" }, what), element("span", { class: "about" }, about));
  list("own").prepend(item);
  list("own").children[50]?.remove();
}

function notice(/** @type {string} */ text) {
  find("notice").textContent = text;
}
