// Messages of one sort, one after the other: handled once each, acked once that is done.
//
// A device has two: its own messages (`seq`), and those to groups and to all (`entry`). Neither waits for the other. A lane outlives the
// sessions that feed it: what is being handled when one is lost is finished, and known when its copy comes in the next.

import * as frames from "./frames.js";
import type { Seen } from "./seen.js";

/** Thrown by a handler: this message is good for nothing. Its sender is told the reason, if it was to this device alone. */
export class Reject extends Error {}

const FIRST_DELAY = 1_000;
const LONGEST_DELAY = 60_000;
/** Acks are gathered, but never for longer than this, so that a handler that takes its time does not look dead. */
const GATHERED = 1_000;

export interface Work {
  seen: Seen;
  handle(message: frames.Message): Promise<void>;
  gap(gap: frames.Gap): Promise<void>;
  failed(message: frames.Message, error: unknown): void;
  /** To the session that there is; gone if there is none. */
  send(frame: frames.ClientFrame): void;
}

type Job = { message: frames.Message } | { gap: frames.Gap };

export class Lane {
  #queue: Job[] = [];
  #running = false;
  #session = 0;
  #half = 8;
  #mark: number | undefined;
  #single: number[] = [];
  #acked = 0;
  readonly #putOff = new Set<number>();
  readonly #failures = new Map<string, number>();
  #wake: (() => void) | undefined;

  constructor(
    private readonly of: "seq" | "entry",
    private readonly work: Work,
  ) {}

  /** A session begins or ends. What was not begun will come again; what is being handled is not acked in another session. */
  reset(window = 16): void {
    this.#session += 1;
    this.#half = Math.max(1, Math.floor(window / 2));
    this.#queue = [];
    this.#mark = undefined;
    this.#single = [];
    this.#putOff.clear();
    this.#wake?.();
  }

  add(job: Job): void {
    this.#queue.push(job);
    if (!this.#running) void this.#run();
  }

  /** Taken back: what was not begun is dropped. Acks of those that follow go past it. */
  drop(ids: readonly string[]): void {
    this.#queue = this.#queue.filter((job) => !("message" in job && ids.includes(job.message.id)));
  }

  /** Acks what is done, now. */
  flush(): void {
    if (this.#mark !== undefined) this.work.send(frames.ack(this.of === "seq" ? { up_to: this.#mark } : { entry: this.#mark }));
    if (this.#single.length) this.work.send(frames.ack({ seqs: this.#single }));
    this.#mark = undefined;
    this.#single = [];
    this.#acked = Date.now();
  }

  async #run(): Promise<void> {
    this.#running = true;
    this.#acked = Date.now();
    let done = 0;
    for (let job = this.#queue.shift(); job; job = this.#queue.shift()) {
      await ("gap" in job ? this.#gap(job.gap) : this.#message(job.message));
      done += 1;
      if (!this.#queue.length || done >= this.#half || Date.now() - this.#acked >= GATHERED) {
        this.flush();
        done = 0;
      }
    }
    this.#running = false;
  }

  async #gap(gap: frames.Gap): Promise<void> {
    const session = this.#session;
    try {
      await this.work.gap(gap);
    } catch {
      return; // not acked: the next session tells it again
    }
    if (session === this.#session) this.work.send(frames.ack({ gap: gap.number }));
  }

  async #message(message: frames.Message): Promise<void> {
    const session = this.#session;
    while (session === this.#session) {
      try {
        if (!(await this.work.seen.has(message.id))) {
          await this.work.handle(message);
          await this.work.seen.add(message.id);
        }
        this.#failures.delete(message.id);
        if (session === this.#session) this.#done(message);
        return;
      } catch (error) {
        this.work.failed(message, error);
        if (session !== this.#session) return;
        const delay = this.#delay(message.id);
        if (error instanceof Reject) {
          this.#failures.delete(message.id);
          if (message.seq !== undefined) this.work.send(frames.reject(message.seq, error.message));
          else this.#done(message); // nothing can be said of an entry but that it is done
          return;
        }
        if (message.seq !== undefined) {
          this.#putOff.add(message.seq);
          this.work.send(frames.later(message.seq, delay));
          return;
        }
        // An entry cannot be put off: those that follow wait, as their order is promised.
        await this.#sleep(delay);
      }
    }
  }

  #done({ seq, entry }: frames.Message): void {
    if (entry !== undefined) {
      this.#mark = entry;
    } else if (seq !== undefined) {
      this.#putOff.delete(seq);
      // `up_to` would take in what was put off and has been offered again since, and was not handled.
      const passes = seq <= (this.#mark ?? 0) || [...this.#putOff].some((other) => other < seq);
      if (passes) this.#single.push(seq);
      else this.#mark = seq;
      if (this.#single.length >= frames.SEEN_SENT) this.flush();
    }
  }

  /** Doubles with each failure of a message. */
  #delay(id: string): number {
    const failures = this.#failures.get(id) ?? 0;
    if (this.#failures.size > 1024) this.#failures.clear(); // ids that never came again
    this.#failures.set(id, failures + 1);
    return Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
