// One connection: its handshake, its heartbeat, its end. It does not come back; `Device` does.

import * as frames from "./frames.js";

/** What a WebSocket has, in browsers, in Node 22, and in the package `ws`. */
export interface Socket {
  readonly protocol: string;
  send(text: string): void;
  close(code?: number): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: any) => void): void;
}
export type SocketClass = new (url: string, protocols: string[]) => Socket;

/** Milliseconds that an answer may take: to the connecting, to the `hello`, to a `ping`. */
const LATE = 10_000;
/** A `ping` at least so often, so that a dead connection is noticed; the server may ask for more. */
const OFTEN = 25_000;

export interface Ending {
  /** The close code; 1006 for a connection that broke or never was. */
  code: number;
  detail?: string;
  /** What a `goaway` asked for. */
  away?: { after: number; spread: number };
  /** Milliseconds since the `welcome`. */
  held: number;
}

export interface Hooks {
  welcome(frame: Extract<frames.ServerFrame, { frame: "welcome" }>): void;
  frame(frame: frames.ServerFrame): void;
  /** Once, as the last. */
  ended(ending: Ending): void;
}

export class Connection {
  #late: ReturnType<typeof setTimeout> | undefined;
  #beat: ReturnType<typeof setTimeout> | undefined;
  #every = OFTEN;
  #welcomed: number | undefined;
  #pinged = false;
  #error: string | undefined;
  #away: Ending["away"];
  #over = false;

  constructor(
    private readonly socket: Socket,
    hello: frames.ClientFrame,
    private readonly hooks: Hooks,
  ) {
    this.#expect("the server does not answer");
    socket.addEventListener("open", () => {
      if (this.#over) return;
      if (socket.protocol !== frames.SUBPROTOCOL) return this.end(1006, `the server does not speak ${frames.SUBPROTOCOL}`);
      this.#expect("the server does not answer");
      socket.send(JSON.stringify(hello));
    });
    socket.addEventListener("message", (event: { data: unknown }) => this.#heard(String(event.data)));
    socket.addEventListener("close", (event: { code: number; reason?: string }) => this.end(event.code, event.reason));
    socket.addEventListener("error", () => undefined); // a close follows; `ws` throws what nobody listens to
  }

  get live(): boolean {
    return this.#welcomed !== undefined && !this.#over;
  }

  /** Whether it was handed to the socket: that says nothing of its arrival. */
  send(frame: frames.ClientFrame): boolean {
    if (!this.live) return false;
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => this.check(), this.#every);
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** Whether anybody is there: ends the connection if nothing is heard within 10 s. */
  check(): void {
    if (this.#pinged) return;
    this.#pinged = this.send(frames.PING);
    if (this.#pinged) this.#expect("no answer to a ping");
  }

  /** Ends it from this side, without waiting for the other one. */
  end(code: number, detail?: string): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#late);
    clearTimeout(this.#beat);
    this.socket.close();
    const said = this.#error ?? detail;
    const held = this.#welcomed === undefined ? 0 : Date.now() - this.#welcomed;
    this.hooks.ended({ code, held, ...(said ? { detail: said } : {}), ...(this.#away ? { away: this.#away } : {}) });
  }

  #heard(text: string): void {
    if (this.#over) return;
    let frame;
    try {
      frame = frames.decode(text);
    } catch {
      return this.end(1006, "the server says what is no frame");
    }
    if (this.live || frame.frame === "welcome") clearTimeout(this.#late);
    this.#pinged = false;
    if (frame.frame === "welcome") {
      this.#welcomed = Date.now();
      this.#every = Math.min(frame.heartbeat_ms, OFTEN);
      this.#beat = setTimeout(() => this.check(), this.#every);
      this.hooks.welcome(frame);
      return;
    }
    if (frame.frame === "error") this.#error = frame.detail;
    if (frame.frame === "goaway") this.#away = { after: frame.after_ms, spread: frame.spread_ms };
    this.hooks.frame(frame);
  }

  #expect(what: string): void {
    clearTimeout(this.#late);
    this.#late = setTimeout(() => this.end(1006, what), LATE);
  }
}
