// When to come back, and whether.

const BASE = 500;
const CAP = 60_000;
/** A session that held this long begins the waits anew. */
const STEADY = 30_000;

/** What to do about a close code, by its hundreds. */
export function band(code: number): "done" | "credentials" | "come-back" | "stop" {
  if (code === 1000) return "done";
  const hundreds = Math.floor(code / 100);
  return hundreds === 41 ? "credentials" : hundreds === 44 ? "stop" : "come-back";
}

/** Full jitter: any time between nothing and a limit that doubles, so that the clients of a process that died come back spread out. */
export class Backoff {
  tries = 0;

  /** `dice` gives numbers from 0 to below 1. */
  constructor(private readonly dice: () => number = Math.random) {}

  get limit(): number {
    return Math.min(CAP, BASE * 2 ** Math.min(this.tries, 16));
  }

  /** Milliseconds to wait before the next try. */
  wait(): number {
    const wait = this.dice() * this.limit;
    this.tries += 1;
    return wait;
  }

  /** A session has lasted so long. */
  held(ms: number): void {
    if (ms >= STEADY) this.tries = 0;
  }
}
