// A chat room: its messages in the order that all members get them in, one's own that are not there yet, who is typing.

import { element, find, list } from "./elements.js";

/** @typedef {import("/client/index.js").Message & { cancelled?: true }} Message */
/** @typedef {import("/client/index.js").Outgoing} Outgoing */

const PAGE = 50;
/** A word that somebody is typing goes out so often at most, and holds for twice as long. */
const TYPING = 2_000;

export class Room {
  /** @type {Map<string, { message: Message, item: HTMLElement }>} By id. */
  #messages = new Map();
  /** @type {readonly Outgoing[]} */
  #outgoing = [];
  /** @type {Map<string, ReturnType<typeof setTimeout>>} Who is typing, until when. */
  #typing = new Map();
  #told = 0;
  #sending = false;

  /**
   * @param {import("/client/index.js").SharedDevice} device
   * @param {string} group
   * @param {string} self the id of the device
   */
  constructor(device, group, self) {
    this.device = device;
    this.group = group;
    this.self = self;
    find("room").hidden = false;
    find("room-name").textContent = group;
    device.on("outgoing", (all) => this.#pending(all.filter((one) => one.group === group)));
    device.on("signal", (signal) => {
      if (signal.group === group && signal.type === "typing") this.#types(signal.from.user ?? signal.from.device, 2 * TYPING);
    });
    find("older").addEventListener("click", () => void this.#history());
    const text = /** @type {HTMLTextAreaElement} */ (find("text"));
    text.addEventListener("input", () => this.#tell());
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#send(text);
    });
    find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send(text);
    });
  }

  /** What was said before is read, and what another session of the device has had meanwhile, or was said while it was not in the room. */
  async connected() {
    await this.#history(true);
  }

  /** Something is missing. Rejects if it cannot be read. */
  async reload() {
    const { messages } = await this.device.requests.history(this.group, { limit: PAGE });
    this.add(messages);
  }

  /** @param {readonly Message[]} messages */
  add(messages) {
    const scroll = find("scroll");
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    const items = list("messages");
    for (const message of messages) {
      const before = this.#messages.get(message.id);
      if (before && !before.item.classList.contains("cancelled")) continue;
      before?.item.remove();
      const item = this.#item(message);
      this.#messages.set(message.id, { message, item });
      // Most come at the end.
      let after = items.lastElementChild;
      while (after && Number(/** @type {HTMLElement} */ (after).dataset["entry"]) > (message.entry ?? 0)) after = after.previousElementSibling;
      if (after) after.after(item);
      else items.prepend(item);
      if (message.from) this.#types(message.from.user ?? message.from.device, 0);
    }
    this.#pending(this.#outgoing);
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  async #send(/** @type {HTMLTextAreaElement} */ text) {
    const said = text.value.trim();
    if (!said || this.#sending) return;
    this.#told = 0;
    this.#sending = true;
    // The `ref` goes along, so that the message is known when it comes back before the answer does.
    const ref = crypto.randomUUID();
    try {
      await this.device.publish(this.group, { type: "chat.message", data: { text: said, ref }, ref });
      // It is on the disk: a tab that closes before that keeps it in the box.
      if (text.value.trim() === said) text.value = "";
    } finally {
      this.#sending = false;
    }
    const scroll = find("scroll");
    scroll.scrollTop = scroll.scrollHeight;
  }

  #tell() {
    if (Date.now() - this.#told < TYPING) return;
    this.#told = Date.now();
    this.device.signal(this.group, "typing");
  }

  #types(/** @type {string} */ who, /** @type {number} */ ms) {
    clearTimeout(this.#typing.get(who));
    this.#typing.delete(who);
    if (ms) this.#typing.set(who, setTimeout(() => this.#types(who, 0), ms));
    const names = [...this.#typing.keys()].join(", ");
    find("typing").textContent = names ? `${names} ${this.#typing.size > 1 ? "are" : "is"} typing …` : "";
  }

  async #history(newest = false) {
    const entries = [...this.#messages.values()].map(({ message }) => message.entry ?? Infinity);
    const before = newest || !entries.length ? {} : { before: Math.min(...entries) };
    try {
      const { messages, more } = await this.device.requests.history(this.group, { limit: PAGE, ...before });
      this.add(messages);
      find("older").hidden = !more;
    } catch (error) {
      find("notice").textContent = `What was said before could not be read: ${error instanceof Error ? error.message : error}`;
    }
  }

  #item(/** @type {Message} */ { id, entry, from, type, data, time, cancelled }) {
    const own = from?.device === this.self;
    const who = own ? "you" : from ? (from.user ?? from.device) : "the back end";
    const classes = ["message", own && "own", cancelled && "cancelled"].filter(Boolean).join(" ");
    const at = element("time", {}, new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    at.dateTime = time;
    const about = element("span", { class: "about" }, `${who} · `, at);
    return element("li", { class: classes, data: { id, entry: String(entry), from: from?.device ?? "" } }, element("span", { class: "what" }, text(type, data)), about);
  }

  /** Those that have come are shown among the messages. */
  #pending(/** @type {readonly Outgoing[]} */ all) {
    this.#outgoing = all;
    const come = new Set([...this.#messages.values()].map(({ message }) => refOf(message.data)));
    const items = all.filter(({ ref }) => !come.has(ref)).map(({ ref, type, payload, answer }) => {
      const refused = answer && "code" in answer ? answer : undefined;
      const about = element("span", { class: "about" }, refused ? `not sent: ${refused.detail}` : answer ? "sent" : "sending");
      if (refused) {
        const dismiss = element("button", {}, "Dismiss");
        dismiss.type = "button";
        dismiss.addEventListener("click", () => void this.device.forget(ref));
        about.append(dismiss);
      }
      const classes = `message own ${refused ? "refused" : answer ? "" : "pending"}`;
      return element("li", { class: classes, data: { ref } }, element("span", { class: "what" }, text(type, payload.data)), about);
    });
    list("outgoing").replaceChildren(...items);
  }
}

const field = (/** @type {unknown} */ data, /** @type {string} */ name) =>
  typeof data === "object" && data !== null ? /** @type {Record<string, unknown>} */ (data)[name] : undefined;
const refOf = (/** @type {unknown} */ data) => field(data, "ref");

/** @returns {string} */
function text(/** @type {string} */ type, /** @type {unknown} */ data) {
  const said = field(data, "text");
  if (typeof said === "string") return said;
  return typeof data === "string" ? data : `${type} ${data instanceof Uint8Array ? `${data.length} bytes` : JSON.stringify(data)}`;
}
