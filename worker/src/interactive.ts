// An interactive transaction inside an object: statements come one request at a time, savepoints nest.

import { WorkFailed } from "./errors";
import type { WriteKeys } from "./keys";
import type { Answer, ControlStep, EndStep, Key, SavepointStep, Step } from "./protocol";
import type { SchemaMark } from "./schema";
import { Results, danglingRows, defersForeignKeys, readsOnly, runStatement } from "./statement";
import type { TransactCall } from "./tenant";

/** Hands over the answer to the last request and waits for the next one's steps; null when the client has gone. */
export type Pull = (answer: Answer) => Promise<Step[] | null>;

/** How a transaction ended; `answer` belongs to the request that ended it. */
export type Outcome = { end: "commit" | "rollback"; answer: Answer } | { end: "lease" } | { end: "gone" };

/** How far to unwind: `level` is the level that stays, reopened after an undo if it is a savepoint. */
interface Unwind {
  level: number;
  undo: boolean;
  reopen: boolean;
  outcome: Outcome | null;
}

/** Carries an unwinding out of a nested transaction so that the runtime rolls it back. */
class Undo extends Error {
  readonly unwind: Unwind;

  constructor(unwind: Unwind) {
    super("undo");
    this.unwind = unwind;
  }
}

// The runtime nests transactions 64 deep; each statement takes one level of its own.
const MAX_SAVEPOINTS = 60;

export class InteractiveTransaction {
  readonly #state: DurableObjectState;
  readonly #storage: DurableObjectStorage;
  readonly #pull: Pull;
  readonly #leaseMs: number;
  readonly #expect: string | undefined;
  readonly #schema: SchemaMark;
  readonly #keys: WriteKeys;
  readonly #savepoints: string[] = [];
  /** The remaining steps of the request, in reverse order: taking the first of many would move all the others. */
  #steps: Step[];
  #results = new Results();
  /** The answer to the request in hand, once a step of it has failed. */
  #failed: Answer | null = null;
  #deadline = 0;
  /** Whether foreign keys have been deferred, even for a moment. */
  #deferred = false;

  constructor(
    state: DurableObjectState,
    { leaseMs, expect, steps }: TransactCall,
    pull: Pull,
    schema: SchemaMark,
    keys: WriteKeys,
  ) {
    this.#state = state;
    this.#storage = state.storage;
    this.#pull = pull;
    this.#leaseMs = leaseMs;
    this.#expect = expect;
    this.#schema = schema;
    this.#keys = keys;
    this.#steps = steps.toReversed();
  }

  /** Runs the transaction to its end. If it throws, the error is the runtime's, and everything is rolled back. */
  async run(): Promise<Outcome> {
    // Other events of the object wait, as they do in a transaction of the runtime.
    const ended = await this.#state.blockConcurrencyWhile(async () => {
      try {
        return { unwind: await this.#runAll() };
      } catch (error) {
        // Thrown in here, it would reset the object.
        return { error };
      }
    });
    if ("error" in ended) throw ended.error;
    if (ended.unwind.outcome === null) throw new Error("the transaction ended without an outcome");
    return ended.unwind.outcome;
  }

  async #runAll(): Promise<Unwind> {
    // The lease counts from here, so that the client does not pay for waiting for the object.
    this.#deadline = Date.now() + this.#leaseMs;
    const error = this.#schema.mismatch(this.#expect);
    if (error !== null) return end({ end: "rollback", answer: { results: [], error } }, true);
    const read = await this.#runReads();
    if (read !== null) return read;
    const { unwind } = await this.#nested(() => this.#enter(0, this.#savepoints.length));
    return unwind;
  }

  /**
   * Runs steps as long as nothing has to be undone; null before the first step that may write.
   *
   * For the runtime a transaction is a write, even an empty one: its end waits until it is durable.
   */
  async #runReads(): Promise<Unwind | null> {
    for (;;) {
      const step = await this.#nextStep();
      if (step === "expired") return end({ end: "lease" }, true);
      if (step === null) return end({ end: "gone" }, true);
      if (mayWrite(step)) {
        this.#steps.push(step);
        return null;
      }
      const unwind = await this.#take(step, (name) => {
        this.#addSavepoint(name);
        return Promise.resolve(null);
      });
      if (unwind === null) continue;
      if (unwind.outcome !== null) return unwind;
      // There is nothing to undo, so the savepoints are only counted.
      this.#savepoints.length = unwind.reopen ? unwind.level : unwind.level - 1;
    }
  }

  /** Opens the transactions of the savepoints that were counted so far, and goes on inside the innermost one. */
  async #enter(level: number, depth: number): Promise<Unwind> {
    if (level < depth) {
      const unwind = await this.#inside(level + 1, () => this.#enter(level + 1, depth));
      if (unwind !== null) return unwind;
    }
    return this.#runLevel();
  }

  /** Runs `body` in a transaction of its own, which is rolled back when it asks for that. */
  async #nested(body: () => Promise<Unwind>): Promise<{ unwind: Unwind }> {
    try {
      const unwind = await this.#storage.transaction(async () => {
        const result = await body();
        if (result.undo) throw new Undo(result);
        return result;
      });
      return { unwind };
    } catch (error) {
      if (error instanceof Undo) return { unwind: error.unwind };
      throw error;
    }
  }

  /** Runs steps until one of them closes this level. */
  async #runLevel(): Promise<Unwind> {
    for (;;) {
      const step = await this.#nextStep();
      if (step === "expired") return end({ end: "lease" }, true);
      if (step === null) return end({ end: "gone" }, true);
      const unwind = await this.#take(step, (name) => this.#openSavepoint(name));
      if (unwind !== null) return unwind;
    }
  }

  /** Takes one step; an unwinding, when it closes the level that it stands in. A failed step drops the rest of its request. */
  async #take(step: Step, open: (name: string) => Promise<Unwind | null>): Promise<Unwind | null> {
    try {
      if (step.type === "statement") {
        this.#deferred ||= defersForeignKeys(step);
        runStatement(this.#storage, step, this.#results, "statement", this.#schema);
        return null;
      }
      if (step.type === "savepoint") return await open(step.name);
      return this.#control(step);
    } catch (error) {
      if (!(error instanceof WorkFailed)) throw error;
      const answer = { results: this.#results.texts, error: error.failure };
      if (error.failure.effect === "ended") return end({ end: "rollback", answer }, true);
      this.#failed = answer;
      this.#steps = [];
      return null;
    }
  }

  async #nextStep(): Promise<Step | "expired" | null> {
    let step = this.#steps.pop();
    while (step === undefined) {
      const answer = this.#failed ?? { results: this.#results.texts };
      const steps = await this.#pullWithinLease(answer);
      if (steps === "expired" || steps === null) return steps;
      this.#failed = null;
      this.#results = new Results();
      this.#steps = steps.toReversed();
      step = this.#steps.pop();
    }
    return step;
  }

  async #pullWithinLease(answer: Answer): Promise<Step[] | "expired" | null> {
    let timer: ReturnType<typeof setTimeout> | null = null;
    // The timer belongs to this level: one set outside a nested transaction does not fire until that has ended.
    const expired = new Promise<"expired">((resolve) => {
      // Never longer than the whole lease, because a clock may have been set back.
      timer = setTimeout(() => resolve("expired"), Math.min(this.#leaseMs, this.#deadline - Date.now()));
    });
    // A broken pull means that the client is gone: the transaction is rolled back.
    const pulled = this.#pull(answer).catch(() => null);
    try {
      const taken = await Promise.race([pulled, expired]);
      // A client that is quick enough beats a timer with no time left.
      return Date.now() < this.#deadline ? taken : "expired";
    } finally {
      // A pending timer would keep the object alive.
      clearTimeout(timer);
    }
  }

  #openSavepoint(name: string): Promise<Unwind | null> {
    return this.#inside(this.#addSavepoint(name), () => this.#runLevel());
  }

  /** Counts a savepoint and returns its level. */
  #addSavepoint(name: string): number {
    if (this.#savepoints.length >= MAX_SAVEPOINTS) {
      const message = `savepoints can nest at most ${MAX_SAVEPOINTS} deep`;
      throw new WorkFailed({
        kind: "unsupported",
        message,
        effect: "statement",
        step: this.#results.texts.length,
      });
    }
    const level = this.#savepoints.push(name);
    this.#results.addEmpty();
    return level;
  }

  /** Runs a savepoint's level, again after each undo that keeps it open. */
  async #inside(level: number, first: () => Promise<Unwind>): Promise<Unwind | null> {
    let body = first;
    for (;;) {
      const { unwind } = await this.#nested(body);
      body = () => this.#runLevel();
      if (unwind.level === level && unwind.reopen) {
        this.#savepoints.length = level;
        continue;
      }
      this.#savepoints.length = level - 1;
      return unwind.level === level ? null : unwind;
    }
  }

  #control(step: ControlStep): Unwind {
    if ("name" in step) return this.#closeSavepoint(step);
    if (step.type === "commit") return this.#commit(step);
    this.#results.addEmpty();
    return end({ end: "rollback", answer: { results: this.#results.texts } }, true);
  }

  #closeSavepoint(step: SavepointStep): Unwind {
    const level = this.#levelOf(step.name);
    this.#results.addEmpty();
    const undo = step.type === "rollback_to";
    return { level, undo, reopen: undo, outcome: null };
  }

  #commit({ key }: EndStep): Unwind {
    const failure = danglingRows(this.#storage.sql, this.#deferred, "ended");
    if (failure !== null) throw new WorkFailed({ ...failure, step: this.#results.texts.length });
    if (key !== undefined) this.#keepKey(key);
    this.#results.addEmpty();
    return end({ end: "commit", answer: { results: this.#results.texts } }, false);
  }

  /** Writes the commit's key; a key that was given up, or used before, ends the transaction. */
  #keepKey(key: Key): void {
    const known = this.#keys.recall(key);
    if ("results" in known) {
      const message = "the commit's key was given up or used before, so the transaction is rolled back";
      throw new WorkFailed({ kind: "stale_key", message, effect: "ended", step: this.#results.texts.length });
    }
    this.#keys.keep(known, null);
  }

  #levelOf(name: string): number {
    const index = this.#savepoints.lastIndexOf(name);
    if (index >= 0) return index + 1;
    const step = this.#results.texts.length;
    throw new WorkFailed({
      kind: "sql",
      message: `no such savepoint: ${name}: SQLITE_ERROR`,
      effect: "statement",
      step,
    });
  }
}

/** Whether a step needs a transaction around it; a commit's key is a write, too. */
function mayWrite(step: Step): boolean {
  if (step.type === "statement") return !readsOnly(step);
  return step.type === "commit" && step.key !== undefined;
}

function end(outcome: Outcome, undo: boolean): Unwind {
  return { level: 0, undo, reopen: false, outcome };
}
