// What was handled, by id. Messages come at least once; this makes it once.
//
// The id belongs where the effect is, in one transaction: then a crash leaves both or neither. `Inbox` does so with the message itself.
// The two here keep ids alone: a crash between effect and id has the effect twice.

/** More than any window, so that no copy gets by. */
const KEPT = 1024;

export interface Seen {
  has(id: string): boolean | Promise<boolean>;
  /** After the effect, and before the ack. Does nothing if the effect has brought its id with it. */
  add(id: string): void | Promise<void>;
  /** These were taken back, and what they had done is undone: should one come again, it is news. */
  drop(ids: readonly string[]): void | Promise<void>;
  /** The newest, the oldest of them first. */
  recent(count: number): readonly string[] | Promise<readonly string[]>;
}

/** For as long as the program runs. */
export class MemorySeen implements Seen {
  protected readonly ids = new Set<string>();

  has(id: string): boolean {
    return this.ids.has(id);
  }

  add(id: string): void {
    this.ids.add(id);
    for (const oldest of this.ids) {
      if (this.ids.size <= KEPT) break;
      this.ids.delete(oldest);
    }
  }

  drop(ids: readonly string[]): void {
    for (const id of ids) this.ids.delete(id);
  }

  recent(count: number): readonly string[] {
    return [...this.ids].slice(-count);
  }
}

/** In a `localStorage` or something like it, under one key. For one page at a time. */
export class StorageSeen extends MemorySeen {
  constructor(
    private readonly key: string,
    private readonly storage: Pick<Storage, "getItem" | "setItem"> = localStorage,
  ) {
    super();
    for (const id of JSON.parse(storage.getItem(key) ?? "[]") as string[]) super.add(id);
  }

  override add(id: string): void {
    super.add(id);
    this.#keep();
  }

  override drop(ids: readonly string[]): void {
    super.drop(ids);
    this.#keep();
  }

  #keep(): void {
    this.storage.setItem(this.key, JSON.stringify([...this.ids]));
  }
}
