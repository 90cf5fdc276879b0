// Who is in the rooms that are watched, as the server tells it.

import type { Member, ServerFrame } from "./frames.js";

export interface Presence {
  group: string;
  /** By device. */
  here: readonly Member[];
  /** How many more there are than are told by name. */
  more: number;
}

export class Rooms {
  readonly #rooms = new Map<string, { here: Map<string, Member>; more: number }>();

  apply({ group, here = [], away = [], all, more }: Extract<ServerFrame, { frame: "present" }>): Presence {
    const before = all ? undefined : this.#rooms.get(group);
    const room = { here: before?.here ?? new Map<string, Member>(), more: more ?? before?.more ?? 0 };
    for (const member of here) room.here.set(member.device, member);
    for (const member of away) room.here.delete(member.device);
    this.#rooms.set(group, room);
    return { group, here: [...room.here.values()], more: room.more };
  }

  /** Whether the server has told who is there. */
  knows(group: string): boolean {
    return this.#rooms.has(group);
  }

  /** Without a connection nobody is known to be there. */
  forget(): Presence[] {
    const groups = [...this.#rooms.keys()];
    this.#rooms.clear();
    return groups.map((group) => ({ group, here: [], more: 0 }));
  }
}
