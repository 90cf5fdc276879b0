// Who is in the rooms that are watched, as the server tells it.

import type { Member, ServerFrame } from "./frames.js";

export interface Presence {
  group: string;
  /** By device. */
  here: readonly Member[];
}

export class Rooms {
  readonly #rooms = new Map<string, Map<string, Member>>();

  apply({ group, here = [], away = [], all }: Extract<ServerFrame, { frame: "present" }>): Presence {
    const room = (all ? undefined : this.#rooms.get(group)) ?? new Map<string, Member>();
    for (const member of here) room.set(member.device, member);
    for (const member of away) room.delete(member.device);
    this.#rooms.set(group, room);
    return { group, here: [...room.values()] };
  }

  /** Whether the server has told who is there. */
  knows(group: string): boolean {
    return this.#rooms.has(group);
  }

  /** Without a connection nobody is known to be there. */
  forget(): Presence[] {
    const groups = [...this.#rooms.keys()];
    this.#rooms.clear();
    return groups.map((group) => ({ group, here: [] }));
  }
}
