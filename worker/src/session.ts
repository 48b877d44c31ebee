// One client's session: takes its frames, sends each to its database, answers.

import { operationRefusal, scopeRefusal, type Scope } from "./auth";
import { costOnD1, runOnD1, sizeOfD1 } from "./d1";
import { KnownColumns } from "./d1-columns";
import { d1Failure, objectFailure } from "./errors";
import { HeldCalls, type Serve } from "./held-calls";
import { parseRequest } from "./parsing";
import { placementRefusal, servedJurisdiction, stubOf, type Place } from "./placement";
import {
  MAX_REQUEST_BYTES,
  ProtocolError,
  answerFrame,
  type Answer,
  type BatchRequest,
  type BookmarkRequest,
  type D1DatabaseName,
  type Effect,
  type EraseRequest,
  type ErrorKind,
  type Failure,
  type ObjectDatabase,
  type OutcomeRequest,
  type PlaceRequest,
  type Request,
  type RestoreRequest,
  type SizeRequest,
  type TransactionRequest,
} from "./protocol";
import { NO_TRANSACTION, RelayedTransaction } from "./relayed-transaction";
import { bookmarkAnswer } from "./recovery";
import type { Tenant } from "./tenant";
import { byteLength } from "./values";

/** When to close it, in multiples of its lifetime: its client has left it long before. */
const CLOSED_AFTER = 1.1;

/** Requests that may wait for answers at once, and the characters of their frames: sessions share 128 MB. */
const MAX_UNANSWERED = 250;
const MAX_UNANSWERED_CHARACTERS = 2 * MAX_REQUEST_BYTES;
const TOO_MANY_UNANSWERED = "too many requests of this session, or too large ones, wait for their answers";

/** The object that is asked which tokens are valid; no client can name it. */
const DOORKEEPER = "_access";

/** CPU milliseconds, at most, of a message and of each of its characters: the clock stands still while code runs. */
const CPU_OF_MESSAGE = 0.4;
const CPU_OF_CHARACTER = 6.7e-6;

/** The longest time that a timer can be set to. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a session may reach, and the limits of the one invocation of the Worker that it is. */
export interface SessionLimits {
  scope: Scope;
  subrequests: number;
  /** Statements for D1, which has its own limit for an invocation. */
  d1Queries: number;
  /** CPU time, which adds up over all of a session's messages. */
  cpuMs: number;
  /** After this time it begins nothing more, so that a removed token does not work forever. */
  seconds: number;
  /** After this time the next message compares the session's token with those of the Worker deployed now. */
  checkSeconds: number;
  /** How long an object waits for the next batch. */
  holdMs: number;
}

export class Session {
  readonly #socket: WebSocket;
  readonly #env: Env;
  readonly #limits: SessionLimits;
  readonly #token: ArrayBuffer;
  readonly #calls: HeldCalls;
  readonly #transactions = new Map<string, RelayedTransaction>();
  readonly #opened = Date.now();
  readonly #columns = new KnownColumns();
  /** The requests that wait for their answers, each with the characters of its frame. */
  readonly #unanswered = new Map<Request, number>();
  #unansweredCharacters = 0;
  /** One for all transactions: a function made in `#begin` would keep that transaction's first steps in memory. */
  readonly #answer = (request: Request, answer: Answer): void => {
    this.#unansweredCharacters -= this.#unanswered.get(request) ?? 0;
    this.#unanswered.delete(request);
    this.#reply(request.id, answer);
  };
  #subrequests = 0;
  #d1Queries = 0;
  #cpuMs = 0;
  /** Whether the token was valid at the last comparison. */
  #welcome = Promise.resolve(true);
  #compared = Date.now();
  /** How many requests are not answered yet; an open transaction is one. */
  #inHand = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** `token` is the digest of the token that opened the session. */
  constructor(socket: WebSocket, env: Env, limits: SessionLimits, token: ArrayBuffer) {
    this.#socket = socket;
    this.#env = env;
    this.#limits = limits;
    this.#token = token;
    const serve: Serve = async (place, first, next) => this.#object(place).serve(first, next);
    this.#calls = new HeldCalls(serve, limits.holdMs);
  }

  /** Serves the socket until it closes, and then rolls back what is still open. */
  start(): void {
    this.#socket.accept();
    this.#socket.addEventListener("message", ({ data }) => {
      void this.#receive(data);
    });
    this.#socket.addEventListener("close", () => this.#close());
    this.#socket.addEventListener("error", () => this.#close());
    const lifetime = Math.min(this.#limits.seconds * 1000 * CLOSED_AFTER, LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#retire(), lifetime);
  }

  async #receive(data: string | ArrayBuffer): Promise<void> {
    let request: Request;
    try {
      request = readFrame(data);
    } catch (error) {
      this.#count(data);
      const { id, kind, message } =
        error instanceof ProtocolError
          ? error
          : new ProtocolError("the frame cannot be read", null, "internal");
      this.#reply(id, failed(kind, message));
      return;
    }
    const { length } = String(data);
    if (!this.#hasRoomFor(length)) {
      this.#count(data);
      this.#reply(request.id, failed("overloaded", TOO_MANY_UNANSWERED));
      return;
    }
    this.#unanswered.set(request, length);
    this.#unansweredCharacters += length;
    this.#inHand += 1;
    try {
      if (await this.#isWelcome()) await this.#serve(request);
      else this.#dismiss(request);
    } catch (error) {
      this.#answer(request, { results: [], error: objectFailure(error, "unknown") });
    }
    this.#count(data);
    this.#inHand -= 1;
    this.#retire();
  }

  async #serve(request: Request): Promise<void> {
    const refusal = this.#refusal(request);
    if (refusal !== null) this.#answer(request, { results: [], error: refusal });
    else if (request.op === "ping") this.#answer(request, { results: [] });
    else if (request.op === "tx") await this.#transaction(request);
    else if (request.op === "outcome") this.#answer(request, await this.#outcome(request));
    else if (request.op === "place") this.#answer(request, await this.#place(request));
    else if (request.op === "erase") this.#answer(request, await this.#erase(request));
    else if (request.op === "bookmark") this.#answer(request, await this.#bookmark(request));
    else if (request.op === "restore") this.#answer(request, await this.#restore(request));
    else if (request.op === "size") this.#answer(request, await this.#size(request));
    else this.#answer(request, await this.#batch(request));
  }

  /** Why nothing of a request may run; null if it may. */
  #refusal(request: Request): Failure | null {
    if (request.op === "ping") return null;
    const { database } = request;
    const { scope } = this.#limits;
    const message = scopeRefusal(scope, database) ?? operationRefusal(scope, request.op);
    if (message !== null) return { kind: "forbidden", message, effect: "none" };
    return database.kind === "do" ? placementRefusal(this.#env, database) : null;
  }

  /** Whether the Worker that is deployed now still accepts the session's token. */
  #isWelcome(): Promise<boolean> {
    if (Date.now() - this.#compared >= this.#limits.checkSeconds * 1000) {
      this.#compared = Date.now();
      this.#welcome = this.#compare();
    }
    return this.#welcome;
  }

  async #compare(): Promise<boolean> {
    this.#subrequests += 1;
    try {
      const doorkeeper = { name: DOORKEEPER, jurisdiction: servedJurisdiction(this.#env) };
      const access = await this.#object(doorkeeper).access(DOORKEEPER, this.#token);
      return access === this.#limits.scope;
    } catch {
      // The object cannot be asked, or runs older code: the session ends by its age at the latest.
      return true;
    }
  }

  /** Refuses a request and closes the session; its open transactions are rolled back. */
  #dismiss(request: Request): void {
    const isOpen = request.op === "tx" && !request.begin;
    this.#answer(request, limitReached(isOpen ? "ended" : "none"));
    if (this.#socket.readyState === WebSocket.OPEN)
      this.#socket.close(1008, "the session's token is no longer valid");
    this.#close();
  }

  async #batch(request: BatchRequest): Promise<Answer> {
    const { database, expect, key, again, location, session, steps } = request;
    if (this.#exhausted()) return limitReached();
    if (database.kind === "do") {
      // One each, though those on a held call make no new subrequest: the runtime may change what it counts.
      this.#subrequests += 1;
      return this.#calls.batch({ ...database, location }, { expect, key, again, steps });
    }
    const binding = this.#binding(database);
    if (binding === null) return failed("unknown_database", "no D1 database with this id is bound");
    const { subrequests, queries } = costOnD1(steps);
    if (!this.#hasLeftOnD1(queries)) return limitReached();
    this.#subrequests += subrequests;
    this.#d1Queries += queries;
    return runOnD1(binding, steps, this.#columns, session);
  }

  async #outcome({ database, key, expect }: OutcomeRequest): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      const outcome = await this.#object(database).outcome(database.name, key, expect);
      return valueAnswer("outcome", outcome);
    } catch (error) {
      // Looking it up again does no harm.
      return { results: [], error: { ...objectFailure(error, "none"), effect: "none" } };
    }
  }

  async #place({ database }: PlaceRequest): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      return valueAnswer("jurisdiction", await this.#object(database).jurisdiction(database.name));
    } catch (error) {
      return { results: [], error: { ...objectFailure(error, "none"), effect: "none" } };
    }
  }

  async #erase({ database, fence }: EraseRequest): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      const erased = await this.#object(database).erase(database.name, fence);
      return valueAnswer("erased", Number(erased));
    } catch (error) {
      return { results: [], error: objectFailure(error, "unknown") };
    }
  }

  async #bookmark({ database, at }: BookmarkRequest): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      return await this.#object(database).bookmark(database.name, at);
    } catch (error) {
      return { results: [], error: { ...objectFailure(error, "none"), effect: "none" } };
    }
  }

  async #restore({ database, bookmark, steps }: RestoreRequest): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    let undo: string | null = null;
    try {
      return await this.#object(database).restore({ name: database.name, bookmark, steps }, (told) => {
        undo = told;
        return Promise.resolve();
      });
    } catch (error) {
      // The restart ends the call with an error; what the object has said before shows that it is the right one.
      return undo === null ? { results: [], error: objectFailure(error, "unknown") } : bookmarkAnswer(undo);
    }
  }

  #size({ database }: SizeRequest): Promise<Answer> {
    return database.kind === "do" ? this.#sizeOfObject(database) : this.#sizeOnD1(database);
  }

  async #sizeOfObject(database: ObjectDatabase): Promise<Answer> {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      return valueAnswer("size", await this.#object(database).size(database.name));
    } catch (error) {
      return { results: [], error: { ...objectFailure(error, "none"), effect: "none" } };
    }
  }

  async #sizeOnD1(database: D1DatabaseName): Promise<Answer> {
    const binding = this.#binding(database);
    if (binding === null) return failed("unknown_database", "no D1 database with this id is bound");
    if (this.#exhausted() || !this.#hasLeftOnD1(1)) return limitReached();
    this.#subrequests += 1;
    this.#d1Queries += 1;
    try {
      return valueAnswer("size", await sizeOfD1(binding));
    } catch (error) {
      return { results: [], error: { ...d1Failure(error), effect: "none" } };
    }
  }

  async #transaction(request: TransactionRequest): Promise<void> {
    const { database, tx, begin } = request;
    const known = this.#transactions.get(tx);
    if (database.kind === "d1") {
      this.#answer(request, failed("unsupported", "D1 has no interactive transactions"));
    } else if (begin && known !== undefined) {
      this.#answer(request, failed("bad_request", "this tx name was used before in this session"));
    } else if (begin) {
      await this.#begin(request, database);
    } else if (known === undefined) {
      this.#answer(request, { results: [], error: NO_TRANSACTION });
    } else if (!known.isOn(database)) {
      this.#answer(request, failed("bad_request", "this tx was begun on another database"));
    } else {
      known.send(request);
    }
  }

  async #begin(request: TransactionRequest, database: ObjectDatabase): Promise<void> {
    const { tx, leaseMs, expect, location, steps } = request;
    if (this.#exhausted()) {
      this.#answer(request, limitReached());
      return;
    }
    const transaction = new RelayedTransaction(request, this.#answer);
    this.#transactions.set(tx, transaction);
    this.#subrequests += 1;
    await transaction.run(request, async (_begin, pull) =>
      this.#object({ ...database, location }).interact(
        { name: database.name, leaseMs, expect, steps },
        (answer) => {
          this.#subrequests += 1;
          return pull(answer);
        },
      ),
    );
  }

  /** A new stub for each call, because one that has seen a connection error stays broken. */
  #object(place: Place): DurableObjectStub<Tenant> {
    return stubOf(this.#env, place);
  }

  #binding({ name }: D1DatabaseName): D1Database | null {
    // A Worker for objects only may be configured without it.
    const names: Record<string, string> | undefined = this.#env.D1_DATABASES;
    if (names === undefined || !Object.hasOwn(names, name)) return null;
    const binding: unknown = Reflect.get(this.#env, names[name] ?? "");
    return (binding as D1Database | undefined) ?? null;
  }

  #hasRoomFor(characters: number): boolean {
    return (
      this.#unanswered.size < MAX_UNANSWERED &&
      this.#unansweredCharacters + characters <= MAX_UNANSWERED_CHARACTERS
    );
  }

  #exhausted(): boolean {
    return (
      this.#isOlderThan(this.#limits.seconds) ||
      this.#subrequests >= this.#limits.subrequests ||
      this.#cpuMs >= this.#limits.cpuMs
    );
  }

  /** Whether this many statements may run; more than the limit are left to D1 itself, in a session of their own. */
  #hasLeftOnD1(queries: number): boolean {
    return this.#d1Queries <= Math.max(this.#limits.d1Queries - queries, 0);
  }

  #isOlderThan(seconds: number): boolean {
    return Date.now() - this.#opened >= seconds * 1000;
  }

  /** Closes a session long after its end, so that no client can keep one forever with pings. */
  #retire(): void {
    if (this.#inHand > 0 || !this.#isOlderThan(this.#limits.seconds * CLOSED_AFTER)) return;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.close(1001, "the session's time is over");
    this.#close();
  }

  #reply(id: number | null, answer: Answer): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const frame = answerFrame(id, answer);
    this.#count(frame);
    this.#socket.send(frame);
  }

  /** Counts the CPU of a frame in either direction: of a request after it ran, so that any fits into a new session. */
  #count(frame: string | ArrayBuffer): void {
    this.#cpuMs += CPU_OF_MESSAGE / 2 + (typeof frame === "string" ? frame.length * CPU_OF_CHARACTER : 0);
  }

  #close(): void {
    clearTimeout(this.#timer);
    for (const transaction of this.#transactions.values()) transaction.close();
    this.#transactions.clear();
    this.#calls.close();
    if (this.#socket.readyState !== WebSocket.CLOSED) this.#socket.close();
  }
}

function readFrame(data: string | ArrayBuffer): Request {
  if (typeof data !== "string") throw new ProtocolError("frames must be text");
  if (byteLength(data) > MAX_REQUEST_BYTES) {
    throw new ProtocolError(`a frame may have at most ${MAX_REQUEST_BYTES} bytes`, null, "too_large");
  }
  return parseRequest(data);
}

function valueAnswer(column: string, value: string | number | null): Answer {
  return { results: [JSON.stringify({ columns: [column], rows: [[value]] })] };
}

function failed(kind: ErrorKind, message: string, effect: Effect = "none"): Answer {
  return { results: [], error: { kind, message, effect } };
}

function limitReached(effect: Effect = "none"): Answer {
  const message = "the session has reached its limit of subrequests, CPU or time. Open a new one";
  return failed("session_limit", message, effect);
}
