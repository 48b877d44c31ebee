// The Worker's side of an interactive transaction: hands the client's requests to the object, in order.

import { objectFailure } from "./errors";
import type { Outcome, Pull } from "./interactive";
import {
  fullName,
  type Answer,
  type Database,
  type Failure,
  type Step,
  type TransactionRequest,
} from "./protocol";

type Reply = (request: TransactionRequest, answer: Answer) => void;

/** Starts the call to the object that carries the transaction. */
export type Transact = (request: TransactionRequest, pull: Pull) => Promise<Outcome>;

export const NO_TRANSACTION: Failure = {
  kind: "no_transaction",
  message: "the transaction does not exist, or has ended",
  effect: "none",
};

const LEASE_EXPIRED: Failure = {
  kind: "lease_expired",
  message: "the transaction held its object longer than its lease and was rolled back",
  effect: "ended",
};

const CONNECTION_LOST: Failure = {
  kind: "reset",
  message: "the connection to the object was lost, and the transaction was rolled back",
  effect: "ended",
};

function failed(error: Failure): Answer {
  return { results: [], error };
}

export class RelayedTransaction {
  readonly #database: Database;
  /** The answer to a request that comes after the end. */
  #ended: Failure | null = null;
  readonly #reply: Reply;
  readonly #waiting: TransactionRequest[] = [];
  #current: TransactionRequest | null;
  #deliver: ((steps: Step[] | null) => void) | null = null;
  #closed = false;

  constructor(begin: TransactionRequest, reply: Reply) {
    this.#database = begin.database;
    this.#reply = reply;
    this.#current = begin;
  }

  /** Whether the transaction was begun on this database. */
  isOn(database: Database): boolean {
    const own = this.#database;
    return own.kind === "do" && database.kind === "do" && fullName(own) === fullName(database);
  }

  /** Carries the transaction to its end. */
  async run(begin: TransactionRequest, transact: Transact): Promise<void> {
    try {
      const outcome = await transact(begin, (answer) => this.#next(answer));
      if (outcome.end === "lease") this.#finish(LEASE_EXPIRED);
      else if (outcome.end === "gone") this.#finish(CONNECTION_LOST);
      else this.#finish(NO_TRANSACTION, outcome.answer);
    } catch (error) {
      const commits = this.#current?.steps.at(-1)?.type === "commit";
      const failure = objectFailure(error, commits ? "unknown" : "ended");
      // An object that has begun the transaction has accepted the request of its commit.
      if (commits && this.#current !== begin) failure.effect = "unknown";
      if (commits) this.#finish(NO_TRANSACTION, failed(failure));
      else this.#finish(failure);
    }
  }

  /** Takes a further request of the transaction, to run after the earlier ones. */
  send(request: TransactionRequest): void {
    if (this.#ended !== null) {
      this.#reply(request, failed(this.#ended));
    } else if (this.#deliver !== null) {
      this.#hand(request);
    } else {
      this.#waiting.push(request);
    }
  }

  /** The client is gone: the object rolls back as soon as it pulls again. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#deliver?.(null);
    this.#deliver = null;
  }

  #next(answer: Answer): Promise<Step[] | null> {
    if (this.#current !== null) this.#reply(this.#current, answer);
    this.#current = null;
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#deliver = resolve;
      const request = this.#waiting.shift();
      if (request !== undefined) this.#hand(request);
    });
  }

  #hand(request: TransactionRequest): void {
    this.#current = request;
    this.#deliver?.(request.steps);
    this.#deliver = null;
  }

  #finish(ended: Failure, answer = failed(ended)): void {
    this.#ended = ended;
    if (this.#current !== null) this.#reply(this.#current, answer);
    this.#current = null;
    for (const request of this.#waiting.splice(0)) this.#reply(request, failed(ended));
    // The object no longer waits for its last pull, so end that call.
    this.#deliver?.(null);
    this.#deliver = null;
  }
}
