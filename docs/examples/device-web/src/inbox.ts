// What a device had and what it has still to say, in IndexedDB: one database for all tabs of an origin.
//
// A message and the fact that it was handled are one record, so a crash leaves both or neither. Writes are synced to the disk before
// they count. Everything here can be called from several tabs at once: transactions keep them apart.

import type { Message } from "./frames.js";
import type { Answer, Outbox, Publication } from "./publications.js";
import type { Seen } from "./seen.js";

/** A message as it is kept: `number` rises in the order of arrival. */
export type Kept = Message & { number: number; cancelled?: true };
/** A publication as it is kept, with its answer once there is one. A stored one goes when its message comes. */
export type Outgoing = Publication & { number: number; answer?: Answer };

/** More than any window, so that no copy gets by. */
const LEAST_KEPT = 1024;

export class Inbox implements Seen, Outbox {
  private constructor(
    private readonly database: IDBDatabase,
    private readonly keep: number,
  ) {}

  /** Keeps the newest `keep` messages, and never fewer than 1024. */
  static async open(name: string, keep = LEAST_KEPT): Promise<Inbox> {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => {
      const messages = opening.result.createObjectStore("messages", { keyPath: "number", autoIncrement: true });
      messages.createIndex("id", "id", { unique: true });
      const outgoing = opening.result.createObjectStore("outgoing", { keyPath: "number", autoIncrement: true });
      outgoing.createIndex("ref", "ref", { unique: true });
    };
    return new Inbox(await done(opening), Math.max(keep, LEAST_KEPT));
  }

  /** The effect of a message: it is kept, once. */
  async receive(message: Message): Promise<void> {
    await this.#write(async ({ messages, outgoing }) => {
      const before = (await done(messages.index("id").get(message.id))) as Kept | undefined;
      if (before && !before.cancelled) return;
      if (before) messages.delete(before.number);
      const number = (await done(messages.add(message))) as number;
      messages.delete(IDBKeyRange.upperBound(number - this.keep));
      const own = ((await done(outgoing.getAll())) as Outgoing[]).filter(({ answer }) => answer && "id" in answer && answer.id === message.id);
      for (const { number } of own) outgoing.delete(number);
    });
  }

  /** What came after `number`, the oldest first. */
  async after(number: number): Promise<Kept[]> {
    return this.#read("messages", (messages) => messages.getAll(IDBKeyRange.lowerBound(number, true)));
  }

  /** They stay, as ones that were taken back. */
  async drop(ids: readonly string[]): Promise<void> {
    await this.#write(async ({ messages }) => {
      for (const id of ids) {
        const message = (await done(messages.index("id").get(id))) as Kept | undefined;
        if (message) messages.put({ ...message, cancelled: true });
      }
    });
  }

  async has(id: string): Promise<boolean> {
    const message = await this.#read<Kept | undefined>("messages", (messages) => messages.index("id").get(id));
    return message !== undefined && !message.cancelled;
  }

  /** The message has brought its id with it. */
  add(): void {}

  async recent(count: number): Promise<string[]> {
    const newest = await this.#read<number[]>("messages", (messages) => messages.getAllKeys() as IDBRequest<number[]>);
    const from = newest.at(-count) ?? 0;
    return (await this.after(from - 1)).filter(({ cancelled }) => !cancelled).map(({ id }) => id);
  }

  async put(publication: Publication): Promise<void> {
    await this.#write(async ({ outgoing }) => void (await done(outgoing.add(publication))));
  }

  async waiting(): Promise<Outgoing[]> {
    return (await this.outgoing()).filter(({ answer }) => !answer);
  }

  /** All that are to be shown, the oldest first. */
  async outgoing(): Promise<Outgoing[]> {
    return this.#read("outgoing", (outgoing) => outgoing.getAll());
  }

  async settle({ ref }: Publication, answer: Answer): Promise<void> {
    await this.#write(async ({ messages, outgoing }) => {
      const publication = (await done(outgoing.index("ref").get(ref))) as Outgoing | undefined;
      if (!publication) return;
      const came = "id" in answer && (await done(messages.index("id").getKey(answer.id)));
      if (came) outgoing.delete(publication.number);
      else outgoing.put({ ...publication, answer });
    });
  }

  /** Takes a refused one out of what is shown. */
  async forget(ref: string): Promise<void> {
    await this.#write(async ({ outgoing }) => {
      const number = await done(outgoing.index("ref").getKey(ref));
      if (number !== undefined) outgoing.delete(number);
    });
  }

  close(): void {
    this.database.close();
  }

  #read<T>(store: "messages" | "outgoing", ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    return done(ask(this.database.transaction(store).objectStore(store)));
  }

  async #write(change: (stores: Record<"messages" | "outgoing", IDBObjectStore>) => Promise<void>): Promise<void> {
    const transaction = this.database.transaction(["messages", "outgoing"], "readwrite", { durability: "strict" });
    const committed = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the browser's database gave up a change"));
    });
    const changed = change({ messages: transaction.objectStore("messages"), outgoing: transaction.objectStore("outgoing") });
    await Promise.all([changed, committed]);
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's database does not answer"));
  });
}
