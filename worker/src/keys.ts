// Idempotency keys: an object recognizes a write that is sent again, and reports whether it was carried out.

import { WorkFailed, isFatal, sqlFailure } from "./errors";
import { readNumber } from "./meta";
import type { Answer, Failure, Key, KeyOutcome } from "./protocol";

/** Characters of the largest answer that is kept for a repetition. */
const MAX_KEPT = 256 * 1024;
/** The shortest time for which a client's last key is kept; no client repeats a write for so long. */
const KEPT_MS = 24 * 60 * 60 * 1000;

/** Marks an answer that was not kept; a result's own text begins with a brace. */
const NOT_KEPT = "-";

// Without a rowid a write costs one row, and leaves last_insert_rowid() as it was.
const CREATE =
  "CREATE TABLE IF NOT EXISTS _do_bridge_keys (client TEXT PRIMARY KEY, n INTEGER NOT NULL, answer TEXT, at INTEGER NOT NULL) WITHOUT ROWID";
const FIND = "SELECT n, answer FROM _do_bridge_keys WHERE client = ?";
const PUT =
  "INSERT INTO _do_bridge_keys (client, n, answer, at) VALUES (?, ?, ?, ?) " +
  "ON CONFLICT (client) DO UPDATE SET n = excluded.n, answer = excluded.answer, at = excluded.at";
const FORGET = "DELETE FROM _do_bridge_keys WHERE at < ?";

/** The last key of a client that left something behind; `answer` is null if its work will never be done. */
type Entry = { n: number; answer: string | null };

/** A write that runs under its key now. */
export interface Running {
  key: Key;
  isNewClient: boolean;
}

const STALE: Failure = {
  kind: "stale_key",
  message: "the client has gone on to a later key, so this request does not run",
  effect: "unknown",
};

const GIVEN_UP: Failure = {
  kind: "stale_key",
  message: "the key was given up when its outcome was looked up, so its work has not run and never will",
  effect: "none",
};

export const FORGOTTEN: Failure = {
  kind: "stale_key",
  message: "the object was erased, and its keys with it, so the write may have been carried out before",
  effect: "unknown",
};

const ANSWER_LOST: Failure = {
  kind: "answer_lost",
  message: "the write was carried out once, and its answer was too large to be kept",
  effect: "done",
};

/** The keys that an object keeps: the last one of each client, written in the transaction of its work. */
export class WriteKeys {
  readonly #sql: SqlStorage;
  /** When this instance erased the object; the lease that fills it again writes a time that lasts. */
  #erasedAt = 0;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * The answer to a request that must not run (again); otherwise the value that `keep` needs.
   * `again` is whether the request may have been carried out already.
   */
  recall(key: Key, again = false): Answer | Running {
    const entry = this.#find(key);
    if (entry === null && again && this.#hasForgotten()) return { results: [], error: FORGOTTEN };
    if (entry === null) return { key, isNewClient: true };
    if (entry.n < key.n) return { key, isNewClient: false };
    if (entry.n > key.n) return { results: [], error: STALE };
    if (entry.answer === null) return { results: [], error: GIVEN_UP };
    if (entry.answer === NOT_KEPT) return { results: [], error: ANSWER_LOST };
    return { results: entry.answer === "" ? [] : entry.answer.split("\n") };
  }

  /**
   * Writes the key of work that is about to be committed; throws `WorkFailed` if that is impossible.
   * `results` are null for the commit of a transaction, which has no answer to keep.
   */
  keep({ key, isNewClient }: Running, results: readonly string[] | null): void {
    // JSON has no line breaks of its own.
    const answer = results?.join("\n") ?? NOT_KEPT;
    try {
      this.#put(key, answer.length > MAX_KEPT ? NOT_KEPT : answer, isNewClient);
    } catch (error) {
      if (isFatal(error)) throw error;
      throw new WorkFailed(sqlFailure(error, results === null ? "ended" : "none"));
    }
  }

  /** Returns what became of a key's work. If it was not done it never will be: a late request is refused. */
  outcome(key: Key): KeyOutcome {
    const entry = this.#find(key);
    // A promise would be a table, which brings an erased object's storage back.
    if (entry === null && this.#hasForgotten()) return "unknown";
    if (entry === null || entry.n < key.n) {
      this.#put(key, null, entry === null);
      return "none";
    }
    if (entry.n > key.n) return "unknown";
    return entry.answer === null ? "none" : "done";
  }

  /** Notes that all keys have been deleted with the object's storage. */
  noteErased(): void {
    this.#erasedAt = Date.now();
  }

  /** Whether a client that is unknown here may have written before the storage was deleted. */
  #hasForgotten(): boolean {
    const remade = 1000 * readNumber(this.#sql, "remade");
    return Math.max(this.#erasedAt, remade) > Date.now() - KEPT_MS;
  }

  #put({ client, n }: Key, answer: string | null, isNewClient: boolean): void {
    const now = Date.now();
    try {
      if (isNewClient) this.#sql.exec(FORGET, now - KEPT_MS);
      this.#sql.exec(PUT, client, n, answer, now);
    } catch (error) {
      // The object's first key, or the first after its tables were dropped.
      if (!isMissing(error)) throw error;
      this.#sql.exec(CREATE);
      this.#sql.exec(PUT, client, n, answer, now);
    }
  }

  #find({ client }: Key): Entry | null {
    try {
      return this.#sql.exec<Entry>(FIND, client).toArray()[0] ?? null;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && error.message.includes("no such table: _do_bridge_keys");
}
