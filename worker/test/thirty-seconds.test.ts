// The runtime's real 30 s limit on an object that has written already. Nothing shorter gives an error that is flagged
// both `overloaded` and `durableObjectReset`; the tests wait for it side by side.

import { env } from "cloudflare:workers";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";

import { Tenant } from "../src/tenant";
import { Client } from "./client";
import recorded from "./thirty-seconds.json";

const LONGER_THAN_THE_LIMIT_MS = 40_000;
const TIMEOUT_MS = 60_000;

const BATCH = "test/limit/batch";
const COMMIT = "test/limit/commit";
const OPEN = "test/limit/open";
const DIRECT = "test/limit/direct";
const KEY = `${"a".repeat(32)}:1`;

/** Writes all that an object was asked to, and then holds it until the runtime resets it. */
async function exceedTheLimit(object: Tenant): Promise<never> {
  const ctx = Reflect.get(object, "ctx") as DurableObjectState;
  await ctx.storage.sync();
  await ctx.blockConcurrencyWhile(() => scheduler.wait(LONGER_THAN_THE_LIMIT_MS));
  throw new Error("the runtime had no limit");
}

const { serve, interact } = Tenant.prototype;

beforeAll(() => {
  // Each object runs into the limit once; when it is asked what became of its work it answers.
  const slow = new Set([BATCH, COMMIT, OPEN, DIRECT]);
  vi.spyOn(Tenant.prototype, "serve").mockImplementation(async function (this: Tenant, first, next) {
    if (first.key === undefined || !slow.delete(first.name)) return serve.call(this, first, next);
    this.batch(first);
    return exceedTheLimit(this);
  });
  vi.spyOn(Tenant.prototype, "interact").mockImplementation(async function (this: Tenant, call, pull) {
    if (!slow.delete(call.name)) return interact.call(this, call, pull);
    if (call.name !== COMMIT) return exceedTheLimit(this);
    await interact.call(this, call, pull);
    return exceedTheLimit(this);
  });
});

afterAll(() => vi.restoreAllMocks());

describe.concurrent("after the runtime's 30 s limit", () => {
  test(
    "a write that is kept is of unknown outcome, and found by its key",
    async () => {
      const db = `do:${BATCH}`;
      // By a session of its own: the write's call must not be one that is held already.
      await (await Client.open()).batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
      const client = await Client.open();
      const steps = [{ sql: "INSERT INTO t VALUES (1)" }];
      const answer = await client.ask({ op: "batch", db, steps, key: KEY });
      expect(answer).toMatchObject({
        error: { kind: "reset", effect: "unknown", message: recorded.message },
      });
      expect(await client.ask({ op: "outcome", db, key: KEY })).toMatchObject({
        results: [{ rows: [["done"]] }],
      });
      const again = await client.ask({ op: "batch", db, steps, key: KEY, again: true });
      expect(again["error"]).toBeUndefined();
      expect(await client.column(db, "SELECT id FROM t")).toEqual([1]);
      client.close();
    },
    TIMEOUT_MS,
  );

  test(
    "a commit that is kept is of unknown outcome, and found by its key",
    async () => {
      const client = await Client.open();
      const db = `do:${COMMIT}`;
      await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
      await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
      const answer = await client.tx(db, "t1", [{ commit: true, key: KEY }]);
      expect(answer).toMatchObject({ error: { kind: "reset", effect: "unknown" } });
      expect(await client.ask({ op: "outcome", db, key: KEY })).toMatchObject({
        results: [{ rows: [["done"]] }],
      });
      expect(await client.column(db, "SELECT id FROM t")).toEqual([1]);
      client.close();
    },
    TIMEOUT_MS,
  );

  test(
    "an open transaction is over, and nothing of it is kept",
    async () => {
      const client = await Client.open();
      const db = `do:${OPEN}`;
      await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
      const answer = await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
      expect(answer).toMatchObject({ error: { kind: "reset", effect: "ended" } });
      expect(await client.column(db, "SELECT id FROM t")).toEqual([]);
      client.close();
    },
    TIMEOUT_MS,
  );

  test(
    "the error has the shape that is recorded for tests which do not wait",
    async () => {
      const stub = env.TENANTS.getByName(DIRECT);
      const call = { name: DIRECT, leaseMs: 1000, expect: undefined, steps: [] };
      const error: unknown = await stub.interact(call, () => Promise.resolve(null)).catch((caught) => caught);
      expect(error).toBeInstanceOf(Error);
      expect({ ...(error as Error), message: (error as Error).message }).toEqual(recorded);
    },
    TIMEOUT_MS,
  );
});
