// The Durable Object that holds one tenant's database.

import { DurableObject } from "cloudflare:workers";

import { accessOf, type Access } from "./auth";
import { WorkFailed } from "./errors";
import type { NextBatch } from "./held-calls";
import { InteractiveTransaction, type Outcome, type Pull } from "./interactive";
import { FORGOTTEN, WriteKeys, type Running } from "./keys";
import { readNumber } from "./meta";
import type { Answer, Failure, Key, KeyOutcome, Statement, Step } from "./protocol";
import { bookmark, restore, type Tell } from "./recovery";
import { SchemaMark } from "./schema";
import { Results, danglingRows, defersForeignKeys, readsOnly, runStatement } from "./statement";

/** What statements have made; the tables of the runtime and of SQLite are deleted with the storage. */
const ANY_TABLE =
  "SELECT 1 FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' " +
  "AND name NOT GLOB 'sqlite_*' LIMIT 1";

export interface BatchCall {
  /** The object that the caller means; every other object refuses the call. */
  name: string;
  /** The schema fingerprint without which nothing may run. */
  expect?: string | undefined;
  /** The write's idempotency key; `again` means that it may have been sent before. */
  key?: Key | undefined;
  again?: boolean;
  steps: Statement[];
}

export interface TransactCall {
  name: string;
  leaseMs: number;
  expect?: string | undefined;
  /** The steps that came with the transaction's first request. */
  steps: Step[];
}

export interface RestoreCall {
  name: string;
  bookmark: string;
  steps: Statement[];
}

export class Tenant extends DurableObject<Env> {
  readonly #schema = new SchemaMark(this.ctx.storage.sql);
  readonly #keys = new WriteKeys(this.ctx.storage.sql);

  /** Runs the steps as one atomic unit; a write with a key runs once, however often it is sent. */
  batch({ name, expect, key, again, steps }: BatchCall): Answer {
    this.#checkName(name);
    // The key first, because the write itself, or a later one, may have changed the schema.
    const known = key && this.#keys.recall(key, again);
    if (known !== undefined && "results" in known) return this.#refused(known, expect);
    const answer = this.#batch(expect, steps, known);
    if (!again || key === undefined || answer.error === undefined) return answer;
    if (answer.error.found === "") return emptied(answer.error);
    // Otherwise an earlier copy of the request could still succeed where this one failed.
    this.#keys.outcome(key);
    return answer;
  }

  /** A tenant that has left this object has taken its keys along, and a client that meets no schema looks there. */
  #refused(known: Answer, expect: string | undefined): Answer {
    const mismatch = known.error === FORGOTTEN ? this.#schema.mismatch(expect) : null;
    return mismatch === null ? known : emptied(mismatch);
  }

  #batch(expect: string | undefined, steps: Statement[], running: Running | undefined): Answer {
    const mismatch = this.#schema.mismatch(expect);
    if (mismatch !== null) return { results: [], error: mismatch };
    const results = new Results();
    try {
      // Nothing runs between statements that do not wait, so queries see one moment without a transaction.
      if (running === undefined && steps.every(readsOnly)) this.#run(steps, results);
      else this.#commit(steps, results, running);
    } catch (error) {
      if (error instanceof WorkFailed) return { results: [], error: error.failure };
      throw error;
    }
    return { results: results.texts };
  }

  #commit(steps: Statement[], results: Results, running: Running | undefined): void {
    const { storage } = this.ctx;
    storage.transactionSync(() => {
      this.#run(steps, results);
      const failure = danglingRows(storage.sql, steps.some(defersForeignKeys), "none");
      if (failure !== null) throw new WorkFailed(failure);
      if (running) this.#keys.keep(running, results.texts);
    });
  }

  #run(steps: Statement[], results: Results): void {
    for (const step of steps) runStatement(this.ctx.storage, step, results, "none", this.#schema);
  }

  /** Runs batches, each atomic by itself, as long as `next` brings more. */
  async serve(first: BatchCall, next: NextBatch): Promise<void> {
    let call: BatchCall | null = first;
    while (call !== null) call = await next(this.batch(call));
  }

  /**
   * What the token of this digest opens now: an object runs the code and the secrets that were deployed last,
   * an open session those with which it began.
   */
  access(name: string, shown: ArrayBuffer): Promise<Access> {
    this.#checkName(name);
    return accessOf(shown, this.env);
  }

  /** What became of the write, or the transaction, with this key; final, as in `WriteKeys`. */
  outcome(name: string, key: Key, expect?: string): KeyOutcome {
    this.#checkName(name);
    // An instance that began after the erasure does not remember it, but has no schema either.
    return this.#schema.mismatch(expect)?.found === "" ? "unknown" : this.#keys.outcome(key);
  }

  /**
   * Deletes the object's storage, which is billed; returns whether it did.
   *
   * With a `fence` all data goes, unless the object has a higher fencing token. Without one nothing is deleted if a
   * table or view exists. An object without tables keeps a page until it is erased. The runtime deletes all or nothing.
   * https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#deleteall
   */
  async erase(name: string, fence?: number): Promise<boolean> {
    this.#checkName(name);
    const { storage } = this.ctx;
    const isInUse =
      fence === undefined
        ? storage.sql.exec(ANY_TABLE).toArray().length > 0
        : readNumber(storage.sql, "fence") > fence;
    if (isInUse) return false;
    const deleted = storage.deleteAll();
    // The instance lives on, and what it remembers went with the storage.
    this.#schema.forget();
    this.#keys.noteErased();
    await deleted;
    return true;
  }

  /**
   * The jurisdiction in which the runtime keeps the object; null for none.
   * https://developers.cloudflare.com/changelog/post/2026-03-26-durable-object-id-jurisdiction/
   */
  jurisdiction(name: string): string | null {
    this.#checkName(name);
    return this.ctx.id.jurisdiction ?? null;
  }

  /** The bookmark of now, or of a moment in milliseconds since 1970. */
  bookmark(name: string, at: number | undefined): Promise<Answer> {
    this.#checkName(name);
    return bookmark(this.ctx.storage, at);
  }

  /** Runs the steps, then restarts at a bookmark; returns only if it does not, and calls `tell` if it does. */
  async restore({ name, bookmark: target, steps }: RestoreCall, tell: Tell): Promise<Answer> {
    this.#checkName(name);
    // A write between the steps and the restart would be confirmed, and gone.
    return this.ctx.blockConcurrencyWhile(async () => {
      const answer = this.#batch(undefined, steps, undefined);
      return answer.error === undefined ? restore(this.ctx, target, tell) : answer;
    });
  }

  /** The bytes that the database takes on disk. */
  size(name: string): number {
    this.#checkName(name);
    return this.ctx.storage.sql.databaseSize;
  }

  /**
   * Holds a transaction open and runs what `pull` brings, until it is ended or its lease expires.
   *
   * It was called `transact` before commits had keys. An object that still runs that code would commit without a key,
   * and later report that nothing was committed. It lacks the new method, so the transaction is begun again.
   */
  async interact(call: TransactCall, pull: Pull): Promise<Outcome> {
    this.#checkName(call.name);
    return new InteractiveTransaction(this.ctx, call, pull, this.#schema, this.#keys).run();
  }

  #checkName(name: string): void {
    if (this.ctx.id.name !== name) throw new Error("this object was called with another object's name");
  }
}

/** The answer to a repeated write that meets no schema: the first copy may have run before an erasure. */
function emptied(mismatch: Failure): Answer {
  return { results: [], error: { ...mismatch, effect: "unknown" } };
}
