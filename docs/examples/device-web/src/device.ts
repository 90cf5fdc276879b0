// A device: one connection after the other, and what outlives them.
//
// Guarantees: each message is handled once for each id that `seen` keeps, in order, and acked after its handler has fulfilled. What is
// published is sent until it is answered. Signals, and who is present, are as of now and may be lost.

import { Backoff, band } from "./backoff.js";
import { Connection, type Ending, type Socket, type SocketClass } from "./connection.js";
import { Events } from "./events.js";
import * as frames from "./frames.js";
import { Lane } from "./lane.js";
import { type Presence, Rooms } from "./presence.js";
import { type Answer, MemoryOutbox, type Outbox, type Publication, Publisher } from "./publications.js";
import { Requests } from "./requests.js";
import { MemorySeen, type Seen } from "./seen.js";
import { wakeups } from "./wakeups.js";

/** What a device is at. `code` is of the protocol's table of closes; `detail` is for people. */
export type State =
  | { name: "closed" }
  | { name: "connecting" }
  | { name: "live"; session: string }
  /** Without a connection until `until` (milliseconds, as of `Date.now()`), or until the browser says that the network is back. */
  | { name: "waiting"; until: number; code: number; detail?: string }
  /** The token is not good, and there was no other. */
  | { name: "refused"; code: number; detail?: string }
  /** A newer session has the device, somewhere else. */
  | { name: "displaced"; code: number; detail?: string }
  /** The server says that this program is wrong or too old. */
  | { name: "stopped"; code: number; detail?: string };

/** Data by type of message: `{ "order.shipped": { order: number } }`. It is believed, not checked. */
export type Types = Record<string, unknown>;
export type Handler<T extends string, D> = (message: frames.Message<T, D>) => void | Promise<void>;
export type Handlers<M extends Types> = { [T in keyof M & string]?: Handler<T, M[T]> };
export type Signal = Omit<Extract<frames.ServerFrame, { frame: "signal" }>, "frame">;

export interface DeviceEvents {
  state: State;
  /** All that there is was had, and acked. */
  idle: undefined;
  /** Taken back: undo what can be undone. */
  cancel: { ids: string[]; reason: string };
  /** A handler has failed; the message comes again unless it threw a `Reject`. */
  failed: { message: frames.Message; error: unknown };
  presence: Presence;
  signal: Signal;
  /** A publication was stored, or refused for good. */
  answered: { publication: Publication; answer: Answer };
  /** A `watch` or a signal was refused. */
  refused: { group?: string; code: string; detail: string };
}

export interface DeviceOptions<M extends Types = Types> {
  /** Where the hub is: `https://hub.example.com`. */
  url: string;
  device: string;
  /**
   * Gives the token. Called again after the server has refused the last one, with the close code (41xx): gives another then, or the
   * same one, with which the device stops as `refused`. A rejection is tried again as a lost connection is.
   */
  token(refused?: number): string | Promise<string>;
  /** What to do with each message, by its type. */
  handlers?: Handlers<M>;
  /** What to do with all others. It is required, since what is acked without an effect is lost. */
  handle: Handler<string, unknown>;
  /** Messages were dropped before they were had: fetch the state anew from your own back end. Acked once this has fulfilled. */
  gap?(gap: frames.Gap): void | Promise<void>;
  /** In memory unless told. */
  seen?: Seen;
  outbox?: Outbox;
  window?: frames.Window;
  /** How often the server will hear from this device; 90 s in a page, since browsers let the timers of hidden pages run once a minute. */
  heartbeatMs?: number;
  agent?: string;
  /** A WebSocket, where there is none: the package `ws` in Node 20. */
  WebSocket?: SocketClass;
  /** From 0 to below 1, for tests. */
  random?: () => number;
}

export interface Content {
  type: string;
  /** A JSON value; a text if `contentType` is `text/...`; or bytes. */
  data: unknown;
  contentType?: string;
  /** Its own name; random unless told. Under one name it is stored once. */
  ref?: string;
}

/** Throws a `RangeError` for what no server takes: a name out of the grammar, more than 64 KiB. */
export function publication(group: string, { type, data, contentType, ref = crypto.randomUUID() }: Content): Publication {
  const payload = frames.payload(data, contentType);
  frames.check(frames.publish(ref, group, type, payload));
  return { ref, group, type, payload, at: Date.now() };
}

/** At most this long after the network is back, so that not everybody comes in the same moment. */
const SOON = 1_000;

export class Device<M extends Types = Types> extends Events<DeviceEvents> {
  readonly requests: Requests;
  readonly #seen: Seen;
  readonly #backoff: Backoff;
  readonly #random: () => number;
  readonly #own: Lane;
  readonly #log: Lane;
  readonly #publisher: Publisher;
  readonly #rooms = new Rooms();
  #watched: readonly string[] = [];
  #state: State = { name: "closed" };
  #connection: Connection | undefined;
  #token: string | undefined;
  #refused: { token: string; code: number; detail?: string } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the wait may be cut short. */
  #short = false;
  /** Which try this is: answers to an older one are not heard. */
  #turn = 0;
  #unhook: (() => void) | undefined;

  constructor(private readonly options: DeviceOptions<M>) {
    super();
    this.#seen = options.seen ?? new MemorySeen();
    this.#random = options.random ?? Math.random;
    this.#backoff = new Backoff(this.#random);
    const work = {
      seen: this.#seen,
      handle: async (message: frames.Message) => (options.handlers?.[message.type] as Handler<string, unknown> ?? options.handle)(message),
      gap: async (gap: frames.Gap) => options.gap?.(gap),
      failed: (message: frames.Message, error: unknown) => this.emit("failed", { message, error }),
      send: (frame: frames.ClientFrame) => void this.#connection?.send(frame),
    };
    this.#own = new Lane("seq", work);
    this.#log = new Lane("entry", work);
    const answered = (publication: Publication, answer: Answer) => this.emit("answered", { publication, answer });
    this.#publisher = new Publisher(options.outbox ?? new MemoryOutbox(), work.send, answered);
    this.requests = new Requests(options.url.replace(/\/+$/, ""), async () => this.#token ?? (await this.#fresh()));
  }

  get state(): State {
    return this.#state;
  }

  /** Connects, and stays connected. Also the way back from `displaced`, `refused` and `stopped`. */
  open(): void {
    if (["connecting", "live", "waiting"].includes(this.#state.name)) return;
    this.#refused = undefined;
    this.#unhook ??= wakeups(() => this.#woken());
    void this.#connect();
  }

  /** Leaves. What is being handled is finished; what is not acked comes again. */
  close(): void {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#unhook?.();
    this.#unhook = undefined;
    const connection = this.#connection;
    if (connection?.live) {
      this.#own.flush();
      this.#log.flush();
      connection.send(frames.BYE);
    }
    this.#become({ name: "closed" });
    connection?.end(1000);
  }

  /** Resolves once it is in the outbox, with the `ref` and a promise of the message's id, or of a `Refused`. Sends when it can. */
  async publish(group: string, content: Content): Promise<{ ref: string; answer: Promise<string> }> {
    const made = publication(group, content);
    return { ref: made.ref, ...(await this.#publisher.publish(made)) };
  }

  /** Sends what others have put into the outbox. */
  async lookIntoOutbox(): Promise<void> {
    await this.#publisher.look();
  }

  /** To those who watch the room now, up to 1 KiB; whether it went out. It does once this device watches the room, and was told who is there. */
  signal(group: string, type: string, data?: unknown): boolean {
    const frame = frames.signal(group, type, data);
    frames.check(frame);
    return this.#rooms.knows(group) && (this.#connection?.send(frame) ?? false);
  }

  /** Of which rooms to be told who is present; 16 at most, in place of those before. */
  watch(groups: readonly string[]): void {
    for (const group of groups) frames.check(frames.signal(group, ""));
    if (groups.length > 16) throw new RangeError("16 rooms can be watched");
    this.#watched = groups;
    this.#connection?.send(frames.watch(groups));
  }

  /** A person has seen these messages, up to 256. Lost without a connection. */
  read(ids: readonly string[]): boolean {
    if (ids.length > frames.SEEN_SENT) throw new RangeError("256 messages can be read at once");
    return this.#connection?.send(frames.read(ids)) ?? false;
  }

  #become(state: State): void {
    this.#state = state;
    this.emit("state", state);
  }

  async #fresh(): Promise<string> {
    this.#token = await this.options.token(this.#refused?.code);
    return this.#token;
  }

  async #connect(): Promise<void> {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#become({ name: "connecting" });
    try {
      const token = await this.#fresh();
      const [seen] = await Promise.all([this.#seen.recent(frames.SEEN_SENT), this.#publisher.look()]);
      if (turn !== this.#turn) return;
      if (token === this.#refused?.token) {
        const { code, detail } = this.#refused;
        return this.#become({ name: "refused", code, ...(detail ? { detail } : {}) });
      }
      const { device, window, agent, url } = this.options;
      const heartbeat_ms = this.options.heartbeatMs ?? (typeof document === "undefined" ? undefined : 90_000);
      const hello = frames.hello(device, { token, window, heartbeat_ms, seen, agent });
      const Socket = this.options.WebSocket ?? (globalThis.WebSocket as SocketClass | undefined);
      if (!Socket) throw new Error("there is no WebSocket here: give the option `WebSocket`, such as that of the package `ws`");
      const socket: Socket = new Socket(`${url.replace(/^http/, "ws").replace(/\/+$/, "")}/v1/device/socket`, [frames.SUBPROTOCOL]);
      this.#connection = new Connection(socket, hello, {
        welcome: (frame) => this.#welcome(frame),
        frame: (frame) => this.#on(frame),
        ended: (ending) => this.#ended(ending, token),
      });
    } catch (error) {
      if (turn === this.#turn) this.#ended({ code: 1006, held: 0, detail: String(error) });
    }
  }

  #welcome({ session, window }: Extract<frames.ServerFrame, { frame: "welcome" }>): void {
    this.#refused = undefined;
    this.#own.reset(window.messages);
    this.#log.reset(window.messages);
    this.#become({ name: "live", session });
    if (this.#watched.length) this.watch(this.#watched);
    this.#publisher.live();
  }

  async #cancelled(ids: string[], reason: string): Promise<void> {
    // What was paused may come again, and is news then. Where that cannot be written it is not, and whoever listens is told all the same.
    await Promise.resolve(this.#seen.drop(ids)).catch(() => undefined);
    this.emit("cancel", { ids, reason });
  }

  #on(frame: frames.ServerFrame): void {
    switch (frame.frame) {
      case "deliver":
        return (frame.entry === undefined ? this.#own : this.#log).add({ message: frames.message(frame) });
      case "gap":
        return this.#own.add({ gap: frame });
      case "cancel":
        this.#own.drop(frame.ids);
        this.#log.drop(frame.ids);
        return void this.#cancelled(frame.ids, frame.reason);
      case "idle":
        return this.emit("idle", undefined);
      case "present":
        return this.emit("presence", this.#rooms.apply(frame));
      case "signal": {
        const { frame: _, ...signal } = frame;
        return this.emit("signal", signal);
      }
      case "published":
        return this.#publisher.answered(frame);
      case "refused": {
        const { ref, frame: _, ...refused } = frame;
        return ref === undefined ? this.emit("refused", refused) : this.#publisher.answered({ ...frame, ref });
      }
      case "goaway":
        this.#own.flush();
        return this.#log.flush();
      default: // `pong`, `error`, and words to come
    }
  }

  #ended({ code, detail, away, held }: Ending, token?: string): void {
    this.#connection = undefined;
    this.#own.reset();
    this.#log.reset();
    // What the server calls wrong is most likely what it has not answered.
    this.#publisher.lost(code === 4400 || code === 4413 ? { code: "protocol-error", detail: detail ?? "the server takes no such frame" } : undefined);
    for (const presence of this.#rooms.forget()) this.emit("presence", presence);
    if (this.#state.name === "closed") return;
    const why = { code, ...(detail ? { detail } : {}) };
    const todo = band(code);
    this.#backoff.held(held);
    if (todo === "stop") return this.#become({ name: code === 4409 ? "displaced" : "stopped", ...why });
    if (todo === "credentials" && token !== undefined) this.#refused = { token, ...why };
    const wait = away ? away.after + this.#random() * away.spread : this.#backoff.wait();
    this.#wait(wait, why, away === undefined);
  }

  /** `short`: a page that wakes up may come sooner. */
  #wait(wait: number, why: { code: number; detail?: string }, short: boolean): void {
    this.#short = short;
    this.#timer = setTimeout(() => void this.#connect(), wait);
    this.#become({ name: "waiting", until: Date.now() + wait, ...why });
  }

  #woken(): void {
    this.#connection?.check();
    const state = this.#state;
    if (state.name !== "waiting" || !this.#short || navigator.onLine === false) return;
    const wait = this.#random() * SOON;
    if (Date.now() + wait >= state.until) return;
    clearTimeout(this.#timer);
    const { name: _, until: __, ...why } = state;
    this.#wait(wait, why, false);
  }
}
