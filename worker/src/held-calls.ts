// Keeps the call to an object open between batches that follow each other closely: a new call takes several times as
// long as a statement, and is billed as a request.
//
// Why it is safe:
// - An answer leaves the object by calling `next`, and a call that an object makes on a stub waits, as every message
//   of an object does, until the writes before it are durable (`JsRpcPromise` behind `waitForOutputLocksIfNecessary`
//   in workerd's src/workerd/api/worker-rpc.c++). If they cannot be made durable it never leaves, and the call breaks.
// - An object that waits for `next` holds no lock: other clients' batches and transactions come in between.
// - A batch is handed over once. Batches that wait when a call ends were never handed over, and get a new call.

import { objectFailure } from "./errors";
import type { Place } from "./placement";
import { fullName, type Answer, type Failure } from "./protocol";
import type { BatchCall } from "./tenant";

/** Hands over the answer to the last batch and waits for the next one; null when the call is to end. */
export type NextBatch = (answer: Answer) => Promise<BatchCall | null>;

/** Makes the call to an object; `first` is its first batch. */
export type Serve = (place: Place, first: BatchCall, next: NextBatch) => Promise<void>;

/** How long a call is used, because the CPU time of an object is counted from its call's arrival. */
const MAX_AGE_MS = 1000;

/** How many calls of a session may wait: an invocation has six connections that wait for their answer. */
const MAX_WAITING = 2;

const GONE: Failure = {
  kind: "reset",
  message: "the session was closed before the batch was run",
  effect: "none",
};

interface Work {
  place: Place;
  call: BatchCall;
  reply: (answer: Answer) => void;
}

class HeldCall {
  readonly #born = Date.now();
  readonly #queue: Work[] = [];
  readonly #holdMs: number;
  readonly #onWaiting: (call: HeldCall) => void;
  #current: Work | null;
  #answered = false;
  #deliver: ((next: BatchCall | null) => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Whether it accepts more batches. */
  open = true;

  constructor(first: Work, holdMs: number, onWaiting: (call: HeldCall) => void) {
    this.#current = first;
    this.#holdMs = holdMs;
    this.#onWaiting = onWaiting;
  }

  /** Whether the object only waits. */
  get waiting(): boolean {
    return this.#deliver !== null;
  }

  /** Serves until the call ends or breaks; returns the work that was never handed over. */
  async run(serve: Serve): Promise<Work[]> {
    try {
      if (this.#current !== null)
        await serve(this.#current.place, this.#current.call, (answer) => this.#next(answer));
    } catch (error) {
      // A call that broke while it waited has nothing to report.
      this.#current?.reply({ results: [], error: this.#failure(error) });
    }
    this.end();
    return this.#queue.splice(0);
  }

  /** Whether work waits for the call to hand it over, or to give it back when it ends. */
  get hasQueue(): boolean {
    return this.#queue.length > 0;
  }

  add(work: Work): void {
    this.#queue.push(work);
    this.#hand();
  }

  /** Accepts no more batches, and releases the object as soon as it has answered. */
  end(): void {
    this.open = false;
    this.#hand();
  }

  #next(answer: Answer): Promise<BatchCall | null> {
    this.#current?.reply(answer);
    this.#current = null;
    this.#answered = true;
    if (Date.now() - this.#born >= MAX_AGE_MS) this.open = false;
    return new Promise((resolve) => {
      this.#deliver = resolve;
      this.#hand();
      if (!this.waiting) return;
      this.#timer = setTimeout(() => this.end(), this.#holdMs);
      this.#onWaiting(this);
    });
  }

  /** Gives a waiting object the next batch, or the end. */
  #hand(): void {
    if (this.#deliver === null) return;
    const work = this.open ? this.#queue.shift() : null;
    if (work === undefined) return;
    clearTimeout(this.#timer);
    this.#current = work;
    this.#deliver(work?.call ?? null);
    this.#deliver = null;
  }

  #failure(error: unknown): Failure {
    const failure = objectFailure(error, "unknown");
    // Only the first batch of a call can have been refused before it ran.
    return this.#answered ? { ...failure, effect: "unknown" } : failure;
  }
}

/** The calls of one session, at most one for each object that accepts more batches. */
export class HeldCalls {
  readonly #serve: Serve;
  readonly #holdMs: number;
  /** By full name: two jurisdictions may have objects of one name. */
  readonly #byName = new Map<string, HeldCall>();
  #waiting: HeldCall[] = [];
  #closed = false;

  /** `holdMs`: how long an object waits for a batch; the wait is billed. */
  constructor(serve: Serve, holdMs: number) {
    this.#serve = serve;
    this.#holdMs = holdMs;
  }

  /** Runs a batch on its object, after those of this session that came before it. */
  batch(place: Place, work: Omit<BatchCall, "name">): Promise<Answer> {
    const call = { name: place.name, ...work };
    return new Promise((reply) => this.#add({ place, call, reply }));
  }

  /** Releases the objects. What was not handed over is not run. */
  close(): void {
    this.#closed = true;
    for (const held of this.#byName.values()) held.end();
    this.#byName.clear();
    this.#waiting = [];
  }

  #add(work: Work): void {
    const held = this.#byName.get(fullName(work.place));
    if (this.#closed) work.reply({ results: [], error: GONE });
    else if (held?.open || held?.hasQueue) held.add(work);
    else void this.#call(work);
  }

  async #call(first: Work): Promise<void> {
    const name = fullName(first.place);
    const held = new HeldCall(first, this.#holdMs, (waiting) => this.#limitWaiting(waiting));
    this.#byName.set(name, held);
    const left = await held.run(this.#serve);
    if (this.#byName.get(name) === held) this.#byName.delete(name);
    this.#waiting = this.#waiting.filter((other) => other !== held);
    for (const work of left) this.#add(work);
  }

  /** Ends the calls that have waited longest if too many wait. */
  #limitWaiting(held: HeldCall): void {
    const others = this.#waiting.filter((other) => other !== held && other.waiting);
    this.#waiting = [...others, held];
    for (const longest of this.#waiting.slice(0, -MAX_WAITING)) longest.end();
  }
}
