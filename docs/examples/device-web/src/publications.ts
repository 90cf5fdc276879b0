// What a device publishes to rooms: kept until the server has answered, sent again after a lost connection under the same `ref`.
//
// Of each room one is under way at a time, so that they are stored in the order in which they were written, whatever is lost or refused
// for now meanwhile.

import * as frames from "./frames.js";

export interface Publication {
  /** Its own name, by which the server knows a copy for 7 days. */
  ref: string;
  group: string;
  type: string;
  payload: frames.Payload;
  /** When it was written, in milliseconds. */
  at: number;
}

/** How it ended: stored, as the message with this id, or refused for good. */
export type Answer = { id: string } | { code: string; detail: string };

/** Where publications are kept until they are answered. */
export interface Outbox {
  put(publication: Publication): void | Promise<void>;
  /** Those without an answer, the oldest first. */
  waiting(): readonly Publication[] | Promise<readonly Publication[]>;
  settle(publication: Publication, answer: Answer): void | Promise<void>;
}

/** For as long as the program runs. */
export class MemoryOutbox implements Outbox {
  readonly #all = new Map<string, Publication>();

  put(publication: Publication): void {
    this.#all.set(publication.ref, publication);
  }

  waiting(): readonly Publication[] {
    return [...this.#all.values()];
  }

  settle({ ref }: Publication): void {
    this.#all.delete(ref);
  }
}

/** A day before the server may forget a `ref`: what was not answered by then might be stored twice. */
const OLDEST = 6 * 24 * 3600 * 1000;

/** The server would not store it, and never will as it is. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    readonly detail: string,
  ) {
    super(`${code}: ${detail}`);
  }
}

export class Publisher {
  /** Those without an answer, by `ref`, the oldest first. */
  readonly #waiting = new Map<string, Publication>();
  /** What each room waits for: the answer to this `ref`, or the time to try again. */
  readonly #busy = new Map<string, string | ReturnType<typeof setTimeout>>();
  /** Those whose answer is being kept. */
  readonly #answered = new Set<string>();
  readonly #asking = new Map<string, (answer: Answer) => void>();
  #live = false;

  constructor(
    private readonly outbox: Outbox,
    private readonly send: (frame: frames.ClientFrame) => void,
    private readonly settled: (publication: Publication, answer: Answer) => void,
  ) {}

  /** Resolves once it is kept; `answer` does once the server has answered. */
  async publish(publication: Publication): Promise<{ answer: Promise<string> }> {
    const answer = new Promise<string>((resolve, reject) => {
      this.#asking.set(publication.ref, (answer) => ("id" in answer ? resolve(answer.id) : reject(new Refused(answer.code, answer.detail))));
    });
    answer.catch(() => undefined); // whoever does not ask is told by the event
    await this.outbox.put(publication);
    this.#waiting.set(publication.ref, publication);
    this.#pump();
    return { answer };
  }

  /** Takes up what was put into the outbox by others, or before this program began. */
  async look(): Promise<void> {
    for (const publication of await this.outbox.waiting()) {
      if (!this.#waiting.has(publication.ref)) this.#waiting.set(publication.ref, publication);
    }
    this.#pump();
  }

  live(): void {
    this.#live = true;
    this.#pump();
  }

  /** `wrong`: and what was under way is not to be sent again, as it would end the next connection too. */
  lost(wrong?: Answer): void {
    this.#live = false;
    const busy = [...this.#busy.values()];
    this.#busy.clear();
    for (const ref of busy) {
      const publication = typeof ref === "string" ? this.#waiting.get(ref) : clearTimeout(ref);
      if (publication && wrong) this.#settle(publication, wrong);
    }
  }

  /** `published`, or `refused` with a `ref`. */
  answered(frame: { ref: string } & ({ frame: "published"; id: string } | { frame: "refused"; code: string; detail: string; retry_after_ms?: number })): void {
    const publication = this.#waiting.get(frame.ref);
    if (!publication || this.#answered.has(frame.ref)) return;
    if (frame.frame === "published") return this.#settle(publication, { id: frame.id });
    const wait = frame.retry_after_ms;
    if (wait === undefined) return this.#settle(publication, { code: frame.code, detail: frame.detail });
    this.#busy.set(
      publication.group,
      setTimeout(() => this.#free(publication.group), wait),
    );
  }

  #settle(publication: Publication, answer: Answer): void {
    this.#answered.add(publication.ref);
    const settled = async () => {
      await this.outbox.settle(publication, answer);
      this.settled(publication, answer);
    };
    // An answer that could not be kept is asked for again by the next program: under the same `ref` it is the same.
    const forget = () => {
      this.#waiting.delete(publication.ref);
      this.#answered.delete(publication.ref);
    };
    settled().then(forget, forget);
    this.#asking.get(publication.ref)?.(answer);
    this.#asking.delete(publication.ref);
    this.#free(publication.group);
  }

  #free(group: string): void {
    this.#busy.delete(group);
    this.#pump();
  }

  #pump(): void {
    if (!this.#live) return;
    for (const publication of [...this.#waiting.values()]) {
      const { ref, group, type, payload, at } = publication;
      if (this.#busy.has(group) || this.#answered.has(ref)) continue;
      if (Date.now() - at > OLDEST) {
        this.#settle(publication, { code: "too-old", detail: "it has waited for longer than the server would know it again" });
        return; // which has pumped
      }
      this.#busy.set(group, ref);
      this.send(frames.publish(ref, group, type, payload));
    }
  }
}
