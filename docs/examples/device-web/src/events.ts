// Events with types, by listeners that are called in turn.

export class Events<E> {
  readonly #listeners = new Map<keyof E, Set<(event: never) => void>>();

  /** Calls `listener` with each event of this name from now on. Returns what ends that. */
  on<N extends keyof E>(name: N, listener: (event: E[N]) => void): () => void {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => void all.delete(listener);
  }

  /** A listener that throws spoils it for no other: the fault is reported where uncaught ones are. */
  protected emit<N extends keyof E>(name: N, event: E[N]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as (event: E[N]) => void)(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
