// The Durable Object that holds one tenant's database.

import { DurableObject } from "cloudflare:workers";

import { accessOf, type Access } from "./auth";
import { WorkFailed } from "./errors";
import type { NextBatch } from "./held-calls";
import { InteractiveTransaction, type Outcome, type Pull } from "./interactive";
import { WriteKeys, type Running } from "./keys";
import type { Answer, Key, KeyOutcome, Statement, Step } from "./protocol";
import { SchemaMark } from "./schema";
import { Results, danglingRows, defersForeignKeys, readsOnly, runStatement } from "./statement";

/** What was made by statements; the runtime's own tables, and those of SQLite, go with the storage. */
const ANY_TABLE =
  "SELECT 1 FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' " +
  "AND name NOT GLOB 'sqlite_*' LIMIT 1";

export interface BatchCall {
  /** The object that the caller means: refused by every other one. */
  name: string;
  /** The schema's fingerprint without which nothing is to run. */
  expect?: string | undefined;
  /** By what the object knows this write should it come again; `again` says that it may have come before. */
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

export class Tenant extends DurableObject<Env> {
  readonly #schema = new SchemaMark(this.ctx.storage.sql);
  readonly #keys = new WriteKeys(this.ctx.storage.sql);

  /** Runs the steps as one atomic unit; a write that has a key once, however often it comes. */
  batch({ name, expect, key, again, steps }: BatchCall): Answer {
    this.#checkName(name);
    // The key first: the write itself, or what came after it, may have changed the schema.
    const known = key && this.#keys.recall(key);
    if (known !== undefined && "results" in known) return known;
    const answer = this.#batch(expect, steps, known);
    // Else an earlier copy, still on its way, could pass where this one failed.
    if (again && key && answer.error !== undefined) this.#keys.outcome(key);
    return answer;
  }

  #batch(expect: string | undefined, steps: Statement[], running: Running | undefined): Answer {
    const mismatch = this.#schema.mismatch(expect);
    if (mismatch !== null) return { results: [], error: mismatch };
    const results = new Results();
    try {
      // Nothing comes between statements that do not wait, so queries see one moment without a transaction.
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

  /** What became of the write, or the transaction, that has this key; final, as `WriteKeys` says. */
  outcome(name: string, key: Key): KeyOutcome {
    this.#checkName(name);
    return this.#keys.outcome(key);
  }

  /**
   * Gives the object's storage back, for which it is billed, unless a table or view stands in it; whether it did.
   *
   * An object without tables stays one of a page for ever otherwise. The runtime deletes all or nothing, at once.
   */
  async erase(name: string): Promise<boolean> {
    this.#checkName(name);
    const { storage } = this.ctx;
    if (storage.sql.exec(ANY_TABLE).toArray().length > 0) return false;
    await storage.deleteAll();
    return true;
  }

  /** The bytes that the database takes on disk. */
  size(name: string): number {
    this.#checkName(name);
    return this.ctx.storage.sql.databaseSize;
  }

  /**
   * Holds a transaction open, in which it runs what `pull` brings, until it is ended or its lease runs out.
   *
   * It was `transact` before commits had keys: an object that still runs that code would commit without one, and
   * say later that nothing was committed. It does not answer to the new name, and the transaction is begun again.
   */
  async interact(call: TransactCall, pull: Pull): Promise<Outcome> {
    this.#checkName(call.name);
    return new InteractiveTransaction(this.ctx.storage, call, pull, this.#schema, this.#keys).run();
  }

  #checkName(name: string): void {
    if (this.ctx.id.name !== name) throw new Error("this object was called by another object's name");
  }
}
