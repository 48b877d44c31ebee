// The Durable Object that holds one tenant's database.

import { DurableObject } from "cloudflare:workers";

import { WorkFailed } from "./errors";
import { InteractiveTransaction, type Outcome, type Pull } from "./interactive";
import type { Answer, Statement, Step } from "./protocol";
import { Results, danglingRows, defersForeignKeys, runStatement } from "./statement";

export interface BatchCall {
  /** The object that the caller means: refused by every other one. */
  name: string;
  steps: Statement[];
}

export interface TransactCall {
  name: string;
  leaseMs: number;
  /** The steps that came with the transaction's first request. */
  steps: Step[];
}

export class Tenant extends DurableObject<Env> {
  /** Runs the steps as one atomic unit. */
  batch({ name, steps }: BatchCall): Answer {
    this.#checkName(name);
    const { storage } = this.ctx;
    const results = new Results();
    try {
      storage.transactionSync(() => {
        for (const step of steps) runStatement(storage, step, results, "none");
        const message = danglingRows(storage.sql, steps.some(defersForeignKeys));
        if (message !== null) throw new WorkFailed({ kind: "foreign_key", message, effect: "none" });
      });
    } catch (error) {
      if (error instanceof WorkFailed) return { results: [], error: error.failure };
      throw error;
    }
    return { results: results.texts };
  }

  /** Holds a transaction open, in which it runs what `pull` brings, until it is ended or its lease runs out. */
  async transact(call: TransactCall, pull: Pull): Promise<Outcome> {
    this.#checkName(call.name);
    return new InteractiveTransaction(this.ctx.storage, call, pull).run();
  }

  #checkName(name: string): void {
    if (this.ctx.id.name !== name) throw new Error("this object was called by another object's name");
  }
}
