// One device for all tabs of an origin: one of them has the connection, all show the same.
//
// A device has one session, and a newer one takes its place, so tabs that connected each for itself would take it from each other. They
// elect one by a lock (Web Locks), which the browser gives to the next as soon as a tab is closed or dies. What the leading tab gets it
// writes to the `Inbox`; a word on a BroadcastChannel makes the others look there. The word is a hint: a tab that missed it finds all with
// its next look. What any tab publishes goes through the same database, so it survives that tab, and the leading one.
//
// A tab that leads and is frozen by its browser answers nobody: a tab that is looked at takes the lock from it after 3 s.

import { Device, type DeviceEvents, type DeviceOptions, type Content, publication, type Signal, type State } from "./device.js";
import { Events } from "./events.js";
import { check, type Gap, type Message, signal } from "./frames.js";
import { Inbox, type Kept, type Outgoing } from "./inbox.js";
import type { Presence } from "./presence.js";
import { Requests } from "./requests.js";

export interface SharedEvents extends Pick<DeviceEvents, "cancel" | "presence" | "signal" | "refused"> {
  state: State;
  /** New ones, in the order in which they came; first all that are kept. Each once in a tab. */
  messages: Kept[];
  /** All that was published and has not come as a message yet; the refused ones until they are forgotten. */
  outgoing: Outgoing[];
  /** Messages were dropped before they were had, and the leading tab has fetched the state anew. */
  gap: Gap;
  /** A message could not be kept, such as for want of room on the disk. It comes again. */
  failed: { id: string; error: string };
}

export interface SharedOptions extends Pick<DeviceOptions, "url" | "device" | "token" | "window" | "agent"> {
  /** Of which rooms this tab wants to know who is present; all tabs together 16 at most. */
  watch?: readonly string[];
  /** Messages were dropped before they were had: fetch the state anew from your own back end, and keep it for all tabs. Called in the leading tab; the gap is acked once this has fulfilled. */
  gap?: DeviceOptions["gap"];
  /** How many messages are kept; 1024 at least, which is the default. */
  keep?: number;
}

/** What the leading tab tells all of them. */
type Told = "cancel" | "presence" | "signal" | "refused" | "gap" | "failed";
type Word =
  | { say: "look" | "open" }
  | { say: "hello"; watch: readonly string[] }
  | { say: "leads"; by: string; state: State; presence: Presence[] }
  | { say: "signal"; group: string; type: string; data?: unknown }
  | { say: "event"; name: Told; event: never };

/** How long a leading tab may take to answer another one. */
const SILENT = 3_000;

export class SharedDevice extends Events<SharedEvents> {
  readonly requests: Requests;
  readonly #name: string;
  readonly #channel: BroadcastChannel;
  readonly #self = crypto.randomUUID();
  /** Whom this tab has told what it wants to know. */
  #leader: string | undefined;
  /** There while this tab leads. */
  #device: Device | undefined;
  #state: State = { name: "connecting" };
  #presence = new Map<string, Presence>();
  #watched: Set<string>;
  #last = 0;
  #looking: Promise<void> | undefined;
  #again = false;
  #silent: ReturnType<typeof setTimeout> | undefined;
  #release: (() => void) | undefined;
  /** The token of this tab is not good: others may lead, and this one does not ask to before it is told to. */
  #resigned = false;
  readonly #closed = new AbortController();

  private constructor(
    private readonly options: SharedOptions,
    private readonly inbox: Inbox,
  ) {
    super();
    this.#watched = new Set(options.watch);
    this.#name = nameOf(options);
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }: MessageEvent<Word>) => this.#told(data);
    this.requests = new Requests(options.url.replace(/\/+$/, ""), async () => options.token());
  }

  /** Needs a page that the browser holds secure: `https:`, or this machine. Call `start` once the listeners are there. */
  static async open(options: SharedOptions): Promise<SharedDevice> {
    if (!globalThis.navigator?.locks) throw new Error("this page is not secure in the eyes of the browser: serve it over https, or from this machine");
    return new SharedDevice(options, await Inbox.open(nameOf(options), options.keep));
  }

  get state(): State {
    return this.#state;
  }

  /** Whether it is this tab that has the connection. */
  get leads(): boolean {
    return this.#device !== undefined;
  }

  /** Tells what is kept, and takes part from then on. */
  async start(): Promise<void> {
    await this.#look();
    document.addEventListener("visibilitychange", () => this.#shown(), { signal: this.#closed.signal });
    void this.#queue({ signal: this.#closed.signal });
    this.#ask();
  }

  /** Leaves the other tabs to themselves. */
  close(): void {
    this.#closed.abort();
    clearTimeout(this.#silent);
    this.#release?.();
    this.#channel.close();
    void (this.#looking ?? Promise.resolve()).finally(() => this.inbox.close());
  }

  /** Resolves with the `ref` once it is on the disk. It is sent when that can be done, by whichever tab leads then. */
  async publish(group: string, content: Content): Promise<string> {
    const made = publication(group, content);
    await this.inbox.put(made);
    this.#changed();
    return made.ref;
  }

  /** No more of a refused publication. */
  async forget(ref: string): Promise<void> {
    await this.inbox.forget(ref);
    this.#changed();
  }

  signal(group: string, type: string, data?: unknown): void {
    check(signal(group, type, data));
    if (this.#device) this.#device.signal(group, type, data);
    else this.#say({ say: "signal", group, type, data });
  }

  /** Connects again after it was displaced, refused or stopped. */
  comeBack(): void {
    if (this.#resigned) {
      this.#resigned = false;
      void this.#queue({ signal: this.#closed.signal });
    } else if (this.#device) this.#device.open();
    else this.#say({ say: "open" });
  }

  #say(word: Word): void {
    if (!this.#closed.signal.aborted) this.#channel.postMessage(word);
  }

  #told(word: Word): void {
    if (word.say === "leads") {
      clearTimeout(this.#silent);
      this.#silent = undefined;
      if (this.#device) return;
      this.#become(word.state);
      for (const group of this.#presence.keys()) {
        if (!word.presence.some((other) => other.group === group)) this.emit("presence", { group, here: [] });
      }
      this.#presence = new Map(word.presence.map((presence) => [presence.group, presence]));
      for (const presence of word.presence) this.emit("presence", presence);
      if (word.by !== this.#leader) this.#wish();
      this.#leader = word.by;
    } else if (word.say === "event") {
      if (word.name === "presence") this.#presence.set((word.event as Presence).group, word.event);
      this.emit(word.name, word.event);
    } else if (word.say === "look") {
      void this.#look();
      void this.#device?.lookIntoOutbox();
    } else if (this.#device) {
      if (word.say === "hello") {
        this.#watch(word.watch);
        this.#announce();
      } else if (word.say === "signal") this.#device.signal(word.group, word.type, word.data);
      else this.#device.open();
    }
  }

  #become(state: State): void {
    this.#state = state;
    this.emit("state", state);
  }

  /** Something is new in the database. */
  #changed(): void {
    this.#say({ say: "look" });
    void this.#look();
    void this.#device?.lookIntoOutbox();
  }

  /** Tells this tab's listeners what is new to it. One look at a time; what changes meanwhile is seen by the next. */
  #look(): Promise<void> {
    this.#again = true;
    this.#looking ??= (async () => {
      while (this.#again && !this.#closed.signal.aborted) {
        this.#again = false;
        const messages = await this.inbox.after(this.#last);
        this.#last = messages.at(-1)?.number ?? this.#last;
        if (messages.length) this.emit("messages", messages);
        this.emit("outgoing", await this.inbox.outgoing());
      }
    })().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  #shown(): void {
    if (document.visibilityState !== "visible") return;
    void this.#look();
    if (!this.#device) this.#ask();
  }

  #wish(): void {
    this.#say({ say: "hello", watch: this.options.watch ?? [] });
  }

  /** Asks the tab that leads how things are, and takes its place if it does not answer one that is looked at. */
  #ask(): void {
    this.#wish();
    clearTimeout(this.#silent);
    if (this.#resigned) return;
    this.#silent = setTimeout(() => {
      this.#silent = undefined;
      if (!this.#device && document.visibilityState === "visible" && !this.#closed.signal.aborted) void this.#queue({ steal: true });
    }, SILENT);
  }

  /** Leads when its turn comes, until it leaves or the lock is taken from it; then it waits for its turn again. */
  async #queue(options: LockOptions): Promise<void> {
    try {
      await navigator.locks.request(this.#name, options, () => this.#lead());
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
      this.#stepDown();
      if (!options.steal) return void this.#queue(options);
    }
  }

  #lead(): Promise<void> {
    if (this.#closed.signal.aborted || this.#device) return Promise.resolve();
    clearTimeout(this.#silent);
    const { url, device, token, window, agent } = this.options;
    const leading: Device = new Device({
      url,
      device,
      token,
      ...(window ? { window } : {}),
      ...(agent ? { agent } : {}),
      seen: this.inbox,
      outbox: this.inbox,
      handle: async (message: Message) => {
        await this.inbox.receive(message);
        this.#say({ say: "look" });
        void this.#look();
      },
      gap: async (gap) => {
        await this.options.gap?.(gap);
        this.#tell("gap", gap);
      },
    });
    this.#device = leading;
    leading.on("state", (state) => {
      if (this.#device !== leading) return;
      if (state.name === "closed") return;
      this.#become(state);
      this.#announce();
      if (state.name !== "refused") return;
      this.#resigned = true;
      this.#release?.();
    });
    leading.on("presence", (presence) => {
      this.#presence.set(presence.group, presence);
      this.#tell("presence", presence);
    });
    leading.on("signal", (signal: Signal) => this.#tell("signal", signal));
    leading.on("refused", (refused) => this.#tell("refused", refused));
    leading.on("failed", ({ message, error }) => this.#tell("failed", { id: message.id, error: String(error) }));
    leading.on("cancel", (cancel) => this.#tell("cancel", cancel));
    leading.on("answered", () => this.#changed());
    leading.watch(this.#watchable());
    leading.open();
    return new Promise((resolve) => {
      this.#release = () => {
        this.#stepDown();
        resolve();
      };
    });
  }

  #stepDown(): void {
    const device = this.#device;
    this.#device = undefined;
    device?.close();
    if (!this.#closed.signal.aborted) this.#ask();
  }

  #tell<N extends Told>(name: N, event: SharedEvents[N]): void {
    this.#say({ say: "event", name, event: event as never });
    this.emit(name, event);
  }

  #watch(more: readonly string[]): void {
    const before = this.#watched.size;
    for (const group of more) this.#watched.add(group);
    if (this.#watched.size > before) this.#device?.watch(this.#watchable());
  }

  /** What was asked for last, if it is too much. */
  #watchable(): string[] {
    return [...this.#watched].slice(-16);
  }

  #announce(): void {
    this.#say({ say: "leads", by: this.#self, state: this.#state, presence: [...this.#presence.values()] });
  }
}

/** One for each device: as many databases, locks and channels. */
function nameOf({ url, device }: Pick<SharedOptions, "url" | "device">): string {
  return `warren-device ${new URL(url).origin} ${device}`;
}
