// A device of Warren, for browsers and Node. docs/device-protocol.md says what it keeps to.

export { Backoff, band } from "./backoff.js";
export type { Socket, SocketClass } from "./connection.js";
export { type Content, Device, type DeviceEvents, type DeviceOptions, type Handler, type Handlers, type Signal, type State, type Types } from "./device.js";
export * as frames from "./frames.js";
export type { Gap, Member, Message, Window } from "./frames.js";
export { Inbox, type Kept, type Outgoing } from "./inbox.js";
export { Reject } from "./lane.js";
export type { Presence } from "./presence.js";
export { type Answer, MemoryOutbox, type Outbox, type Publication, Refused } from "./publications.js";
export { RequestFailed, Requests, type Room } from "./requests.js";
export { MemorySeen, type Seen, StorageSeen } from "./seen.js";
export { SharedDevice, type SharedEvents, type SharedOptions } from "./shared.js";
