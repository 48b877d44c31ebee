// A client of the relay's sessions, for tests.

import { env, exports } from "cloudflare:workers";

import { SUBPROTOCOL } from "../src/protocol";
import worker from "./jurisdictions";

export const TOKEN = "a-token-for-tests-of-the-relay-00";

type Frame = Record<string, unknown>;

/** Sends an HTTP request to the Worker. */
export function request(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return exports.default.fetch(new Request(`http://relay.test${path}`, { headers }));
}

/** Asks for a session; the headers given replace those of a good client. */
export function upgrade(headers: Record<string, string> = {}): Promise<Response> {
  return request("/v1/session", {
    Authorization: `Bearer ${TOKEN}`,
    Upgrade: "websocket",
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
    ...headers,
  });
}

/** Asks a Worker with other variables or secrets for a session. */
export function upgradeWith(changes: Partial<Record<keyof Env, unknown>>, token = TOKEN): Promise<Response> {
  const asked = new Request<unknown, IncomingRequestCfProperties>("http://relay.test/v1/session", {
    headers: {
      Authorization: `Bearer ${token}`,
      Upgrade: "websocket",
      "Sec-WebSocket-Protocol": SUBPROTOCOL,
    },
  });
  // A spread would drop the bindings, which stand on the prototype of `env` in some versions.
  const changed = Object.create(
    env,
    Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, { value }])),
  );
  return worker.fetch(asked, changed as Env);
}

/** An open session: frames out, frames in, in the order in which they came. */
export class Client {
  readonly #socket: WebSocket;
  readonly #arrived: Frame[] = [];
  readonly #wanted: ((frame: Frame) => void)[] = [];
  #lastId = 0;
  /** Comes when the relay closes the session. */
  readonly closed: Promise<{ code: number; reason: string }>;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.addEventListener("close", resolve));
    socket.accept();
    socket.addEventListener("message", ({ data }) => this.#arrive(JSON.parse(String(data)) as Frame));
  }

  static async open(asked: Promise<Response> = upgrade()): Promise<Client> {
    const response = await asked;
    if (response.webSocket === null) throw new Error(`no session: ${response.status}`);
    return new Client(response.webSocket);
  }

  sendText(data: string | ArrayBuffer): void {
    this.#socket.send(data);
  }

  /** Sends a request under an id of its own and tells the id. */
  send(request: Frame): number {
    this.#lastId += 1;
    this.sendText(JSON.stringify({ id: this.#lastId, ...request }));
    return this.#lastId;
  }

  /** The next frame that arrives. */
  receive(): Promise<Frame> {
    const frame = this.#arrived.shift();
    if (frame !== undefined) return Promise.resolve(frame);
    return new Promise((resolve) => this.#wanted.push(resolve));
  }

  /** Sends a request and gives its answer, without the id. */
  async ask(request: Frame): Promise<Frame> {
    const expected = this.send(request);
    const { id, ...answer } = await this.receive();
    if (id !== expected) throw new Error(`answer ${String(id)} came instead of ${expected}`);
    return answer;
  }

  /** Runs SQL as one batch. */
  batch(db: string, ...sql: string[]): Promise<Frame> {
    return this.ask({ op: "batch", db, steps: sql.map((text) => ({ sql: text })) });
  }

  /** The first column of what a query reads. */
  async column(db: string, sql: string): Promise<unknown[]> {
    const answer = await this.batch(db, sql);
    const [result] = answer["results"] as { rows: unknown[][] }[];
    return (result?.rows ?? []).map(([value]) => value);
  }

  /** Sends steps of a transaction. */
  tx(db: string, tx: string, steps: (string | Frame)[], more: Frame = {}): Promise<Frame> {
    return this.ask(transactionFrame(db, tx, steps, more));
  }

  close(): void {
    this.#socket.close();
  }

  #arrive(frame: Frame): void {
    const wanted = this.#wanted.shift();
    if (wanted === undefined) this.#arrived.push(frame);
    else wanted(frame);
  }
}

/** The frame of a transaction's request; a text among the steps is SQL. */
export function transactionFrame(db: string, tx: string, steps: (string | Frame)[], more: Frame = {}): Frame {
  const written = steps.map((step) => (typeof step === "string" ? { sql: step } : step));
  return { op: "tx", db, tx, steps: written, ...more };
}
