// What a device asks for by requests, beside its socket: its rooms, what was said in them, who is in them.
//
// A page of another origin than the hub's needs that origin in `[cors] origins` of the hub.

import { type Deliver, type Member, type Message, message } from "./frames.js";

export interface Room {
  group: string;
  /** Whether this device may publish to it. */
  publish: boolean;
  /** How many of the newest messages may be read back. */
  history: number;
}

/** The hub said no; `code` is the word of its problem document. */
export class RequestFailed extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

export class Requests {
  constructor(
    private readonly url: string,
    private readonly token: () => Promise<string>,
  ) {}

  async rooms(): Promise<Room[]> {
    return (await this.#get<{ groups: Room[] }>("")).groups;
  }

  /** The newest `limit` (1 to 100) before an entry, or of all, the oldest of them first; `more` if there are older ones. */
  async history(group: string, { before, limit = 50 }: { before?: number; limit?: number } = {}): Promise<{ messages: Message[]; more: boolean }> {
    const asked = new URLSearchParams({ limit: String(limit), ...(before === undefined ? {} : { before: String(before) }) });
    const page = await this.#get<{ messages: Omit<Deliver, "frame">[]; more: boolean }>(`/${encodeURIComponent(group)}/messages?${asked}`);
    return { messages: page.messages.map(message), more: page.more };
  }

  /** Who is in a room, there or not. */
  async members(group: string): Promise<{ members: (Member & { present: boolean })[] }> {
    return this.#get(`/${encodeURIComponent(group)}/members`);
  }

  async #get<T>(path: string): Promise<T> {
    const headers = { Authorization: `Bearer ${await this.token()}` };
    const answer = await fetch(`${this.url}/v1/device/groups${path}`, { headers, cache: "no-store" });
    if (answer.ok) return (await answer.json()) as T;
    const problem = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string };
    throw new RequestFailed(answer.status, problem.code ?? "unknown", problem.detail ?? `the hub answers ${answer.status}`);
  }
}
