// Keeps the call to an object open between batches that follow each other closely: a new call takes several times as
// long as a statement, and is billed as a request.

import { objectFailure } from "./errors";
import type { Answer, Statement } from "./protocol";

/** Hands over the answer to the last batch and waits for the next one; null when there is none for a while. */
export type NextBatch = (answer: Answer) => Promise<Statement[] | null>;

/** Starts the call to an object that carries a lane; `steps` are its first batch. */
type Serve = (name: string, steps: Statement[], next: NextBatch) => Promise<void>;

/**
 * How long a lane waits for the next batch. It keeps the object awake, and 100 ms of an object's time cost what a
 * request to it costs: developers.cloudflare.com/durable-objects/platform/pricing
 */
const IDLE_MS = 100;

/** How long a lane may be used: the time on the CPU that an object gets is counted by the call. */
const MAX_AGE_MS = 5000;

interface Work {
  steps: Statement[];
  reply: (answer: Answer) => void;
}

class Lane {
  readonly #born = Date.now();
  readonly #waiting: Work[] = [];
  #current: Work | null;
  #deliver: ((steps: Statement[] | null) => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Whether it takes more work: from here on it is the lane's to do, or to give back. */
  open = true;

  constructor(first: Work) {
    this.#current = first;
  }

  /** Serves until the lane is closed or lost; returns the work that certainly did not run. */
  async run(call: (steps: Statement[], next: NextBatch) => Promise<void>): Promise<Work[]> {
    try {
      await call(this.#current?.steps ?? [], (answer) => this.#next(answer));
    } catch (error) {
      // A lane that was lost while it waited has nothing to tell.
      this.#current?.reply({ results: [], error: objectFailure(error, "unknown") });
    }
    this.close();
    return this.#waiting;
  }

  add(work: Work): void {
    this.#waiting.push(work);
    this.#hand();
  }

  close(): void {
    this.open = false;
    this.#hand();
  }

  #next(answer: Answer): Promise<Statement[] | null> {
    this.#current?.reply(answer);
    this.#current = null;
    if (Date.now() - this.#born > MAX_AGE_MS) this.open = false;
    return new Promise((resolve) => {
      this.#deliver = resolve;
      this.#timer = setTimeout(() => this.close(), IDLE_MS);
      this.#hand();
    });
  }

  /** Lets the object have the next batch, or the end, when it asks for one. */
  #hand(): void {
    if (this.#deliver === null) return;
    const work = this.open ? this.#waiting.shift() : null;
    if (work === undefined) return;
    clearTimeout(this.#timer);
    this.#current = work;
    this.#deliver(work?.steps ?? null);
    this.#deliver = null;
  }
}

export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  readonly #serve: Serve;

  constructor(serve: Serve) {
    this.#serve = serve;
  }

  /** Runs the steps as one atomic unit on the object of that name. */
  batch(name: string, steps: Statement[]): Promise<Answer> {
    return new Promise((resolve) => this.#add(name, { steps, reply: resolve }));
  }

  /** Lets the objects go. */
  close(): void {
    for (const lane of this.#lanes.values()) lane.close();
    this.#lanes.clear();
  }

  #add(name: string, work: Work): void {
    const known = this.#lanes.get(name);
    if (known?.open) known.add(work);
    else void this.#open(name, work);
  }

  async #open(name: string, first: Work): Promise<void> {
    const lane = new Lane(first);
    this.#lanes.set(name, lane);
    const left = await lane.run((steps, next) => this.#serve(name, steps, next));
    if (this.#lanes.get(name) === lane) this.#lanes.delete(name);
    for (const work of left) this.#add(name, work);
  }
}
