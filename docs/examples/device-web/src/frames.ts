// The frames of warren.device.v1 as values, and what handlers are given of them. Nothing here does I/O.

export const SUBPROTOCOL = "warren.device.v1";
/** Ids that a `hello` may name. */
export const SEEN_SENT = 256;

export interface Window {
  /** Messages that may be unacked, 1 to 256. */
  messages: number;
  /** Bytes of them, 4096 to 1048576. */
  bytes: number;
}

/** Who published a message or gave a signal: a device, and its user if it has one. */
export interface Member {
  device: string;
  user?: string;
}

/** A payload on the wire: one of `data` and `data_base64`. */
export interface Payload {
  content_type?: string;
  data?: unknown;
  data_base64?: string;
}

export interface Deliver extends Payload {
  frame: "deliver";
  seq?: number;
  entry?: number;
  group?: string;
  id: string;
  from?: Member;
  dup?: boolean;
  type: string;
  time: string;
  expires?: string;
  collapse_key?: string;
  priority?: "high";
  content_type: string;
}

export interface Gap {
  number: number;
  /** `expired`, `overflow`, `purged`, or a word to come. */
  reason: string;
  /** How many; absent if nobody knows. */
  count?: number;
}

/** What the server says. */
export type ServerFrame =
  | { frame: "welcome"; session: string; window: Window; heartbeat_ms: number; time: string }
  | Deliver
  | ({ frame: "gap" } & Gap)
  | { frame: "cancel"; ids: string[]; reason: string }
  | { frame: "idle" }
  | { frame: "pong" }
  | { frame: "goaway"; after_ms: number; spread_ms: number }
  | { frame: "error"; code: string; detail: string; field?: string }
  | { frame: "published"; ref: string; id: string }
  | { frame: "refused"; ref?: string; group?: string; code: string; detail: string; retry_after_ms?: number }
  | { frame: "signal"; group: string; from: Member; type: string; data?: unknown }
  | { frame: "present"; group: string; here?: Member[]; away?: Member[]; all?: boolean };

/** What a device says; the functions below make them. */
export type ClientFrame = { frame: string } & Record<string, unknown>;

export interface Hello {
  token?: string | undefined;
  window?: Window | undefined;
  heartbeat_ms?: number | undefined;
  seen?: readonly string[] | undefined;
  agent?: string | undefined;
}

const wellFormed = (_: string, value: unknown): unknown => (typeof value === "string" ? value.toWellFormed() : value);
// Fields that are undefined are absent on the wire, and halves of characters, which are no Unicode, are replaced.
const frame = (name: string, fields: object): ClientFrame => JSON.parse(JSON.stringify({ frame: name, ...fields }, wellFormed)) as ClientFrame;

/** Bytes of a frame at most. A larger one closes with 4413. */
export const MOST = 65_536;
/** Levels of arrays and objects in a frame, itself included. */
const DEEPEST = 16;
const GROUP = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const REF = /^[A-Za-z0-9_-]{1,64}$/;

/** Throws a `RangeError` for what the server would close the connection for, and for which no try is better than another. */
export function check(frame: ClientFrame): void {
  const { group, ref } = frame as { group?: string; ref?: string };
  if (group !== undefined && !GROUP.test(group)) throw new RangeError(`no group is called \`${group}\``);
  if (ref !== undefined && !REF.test(ref)) throw new RangeError("a `ref` is 1 to 64 of a-z, A-Z, 0-9, - and _");
  const bytes = new TextEncoder().encode(JSON.stringify(frame)).length;
  if (bytes > MOST) throw new RangeError(`it takes ${bytes} bytes on the wire, ${MOST} is the most`);
  if (depth(frame) > DEEPEST) throw new RangeError(`it has more than ${DEEPEST - 1} levels`);
}

function depth(value: unknown): number {
  return typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0;
}

/** The first frame. `seen`: ids that were handled, and whose acks may be lost; the newest 256 go along. */
export function hello(device: string, { token, window, heartbeat_ms, seen, agent }: Hello = {}): ClientFrame {
  const newest = seen?.length ? seen.slice(-SEEN_SENT) : undefined;
  return frame("hello", { version: 1, device, token, window: window ?? { messages: 16, bytes: 262144 }, heartbeat_ms, seen: newest, agent });
}

export const ack = (of: { up_to?: number; seqs?: number[]; entry?: number; gap?: number }): ClientFrame => frame("ack", of);
/** Offered again after the delay. */
export const later = (seq: number, delay_ms: number): ClientFrame => frame("nack", { seq, how: "later", delay_ms });
/** Never again; the sender is told the reason. */
export const reject = (seq: number, reason?: string): ClientFrame => frame("nack", { seq, how: "reject", reason });
/** A person has seen these. */
export const read = (ids: readonly string[]): ClientFrame => frame("read", { ids });
export const auth = (token: string): ClientFrame => frame("auth", { token });
export const publish = (ref: string, group: string, type: string | undefined, payload: Payload): ClientFrame =>
  frame("publish", { ref, group, type, ...payload });
export const signal = (group: string, type: string, data?: unknown): ClientFrame => frame("signal", { group, type, data });
export const watch = (groups: readonly string[]): ClientFrame => frame("watch", { groups });
export const PING: ClientFrame = { frame: "ping" };
export const BYE: ClientFrame = { frame: "bye" };

/** A frame of the server. One of a later version is a frame too: whoever reads it skips what it does not know. */
export const decode = (text: string): ServerFrame => JSON.parse(text) as ServerFrame;

/**
 * A message as handlers get it.
 *
 * `data` is a JSON value, a text, or bytes. JavaScript reads numbers as doubles: whoever sends more digits than those hold sends a text.
 */
export interface Message<T extends string = string, D = unknown> {
  id: string;
  type: T;
  data: D;
  contentType: string;
  time: string;
  /** What went to a group or to all has an `entry`, anything else a `seq`; `group` is absent from what went to all. */
  seq?: number;
  entry?: number;
  group?: string;
  /** The device that published it; absent from what a back end sent. */
  from?: Member;
  expires?: string;
  collapseKey?: string;
  high: boolean;
}

/** `deliver`, also without its `frame`, as requests answer it. */
export function message(deliver: Omit<Deliver, "frame">): Message {
  const { id, type, time, seq, entry, group, from, expires } = deliver;
  const some = { seq, entry, group, from, expires, collapseKey: deliver.collapse_key };
  const there = Object.fromEntries(Object.entries(some).filter(([, value]) => value !== undefined));
  return { id, type, time, contentType: deliver.content_type, data: data(deliver), high: deliver.priority === "high", ...there };
}

/** What was sent. */
export function data(payload: Payload): unknown {
  return payload.data_base64 === undefined ? payload.data : Uint8Array.from(atob(payload.data_base64), (char) => char.charCodeAt(0));
}

/** Bytes, a text if `contentType` is one of texts, or else a JSON value, for the wire. */
export function payload(data: unknown, contentType?: string): Payload {
  if (!(data instanceof Uint8Array)) return { content_type: contentType ?? "application/json", data };
  const text = Array.from(data, (byte) => String.fromCharCode(byte)).join("");
  return { content_type: contentType ?? "application/octet-stream", data_base64: btoa(text) };
}
