// The relay with objects that fail as the runtime's 30 s limit makes them, without the 30 s: tests/backends uses it.

import relay from "../src/index";
import type { NextBatch } from "../src/held-calls";
import type { Outcome, Pull } from "../src/interactive";
import type { BatchCall, TransactCall } from "../src/tenant";
import { Tenant as Base } from "./internal-tables";
import recorded from "./thirty-seconds.json";

/** What a write names by one of its values, and the object does then. */
const AFTER = "reset after the write";
const BEFORE = "reset before the write";

export class Tenant extends Base {
  override async serve(first: BatchCall, next: NextBatch): Promise<void> {
    const text = JSON.stringify(first.steps);
    if (text.includes(BEFORE)) throw limitReached();
    if (text.includes(AFTER) && first.key !== undefined && first.again !== true) {
      this.batch(first);
      await this.ctx.storage.sync();
      throw limitReached();
    }
    // No call is held: each batch comes here.
    await next(this.batch(first));
  }

  override async interact(call: TransactCall, pull: Pull): Promise<Outcome> {
    let text = JSON.stringify(call.steps);
    const outcome = await super.interact(call, async (answer) => {
      const steps = await pull(answer);
      text += JSON.stringify(steps);
      return steps;
    });
    if (!text.includes(AFTER) || outcome.end !== "commit") return outcome;
    await this.ctx.storage.sync();
    throw limitReached();
  }
}

function limitReached(): Error {
  const { message, ...flags } = recorded;
  return Object.assign(new Error(message), flags);
}

export default relay;
