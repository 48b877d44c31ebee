// The call that is held open, on real objects: what it must not hold up, and what must not be believed too early.

import { abortAllDurableObjects, evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Tenant } from "../src/tenant";
import { Client, upgradeWith } from "./client";

let counter = 0;
let name = "";
let db = "";
let client: Client;

beforeEach(async () => {
  // The hold ends when a test says so.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  counter += 1;
  name = `test/held/${counter}`;
  db = `do:${name}`;
  client = await Client.open();
  await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const ids = (from = client): Promise<unknown[]> => from.column(db, "SELECT id FROM t ORDER BY id");

test("batches of one session that follow each other make one call", async () => {
  const serve = vi.spyOn(Tenant.prototype, "serve");
  const batch = vi.spyOn(Tenant.prototype, "batch");
  for (let id = 1; id <= 5; id += 1) await client.batch(db, `INSERT INTO t VALUES (${id})`);
  expect(await ids()).toEqual([1, 2, 3, 4, 5]);
  // The first call was made before the test looked.
  expect([serve.mock.calls.length, batch.mock.calls.length]).toEqual([0, 6]);
});

test("a Worker that is told to hold no call makes one for each batch", async () => {
  const other = await Client.open(upgradeWith({ CALL_HOLD_MS: 0 }));
  await other.batch(db, "INSERT INTO t VALUES (1)");
  const serve = vi.spyOn(Tenant.prototype, "serve");
  vi.advanceTimersByTime(0);
  expect(await ids(other)).toEqual([1]);
  expect(serve).toHaveBeenCalledOnce();
  other.close();
});

describe("while a call is held", () => {
  test("another session's batches are not held up, and see what was written", async () => {
    const other = await Client.open();
    await client.batch(db, "INSERT INTO t VALUES (1)");
    await other.batch(db, "INSERT INTO t VALUES (2)");
    expect(await ids()).toEqual([1, 2]);
    expect(await ids(other)).toEqual([1, 2]);
    other.close();
  });

  test("a transaction of another session begins, writes and commits", async () => {
    const other = await Client.open();
    await other.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
    await other.tx(db, "t1", ["INSERT INTO t VALUES (2)"]);
    await other.tx(db, "t1", [{ commit: true }]);
    expect(await ids()).toEqual([1, 2]);
    other.close();
  });

  test("a transaction of the same session begins, writes and commits", async () => {
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
    await client.tx(db, "t1", [{ commit: true }]);
    expect(await ids()).toEqual([1]);
  });

  test("a batch waits for another session's transaction, and sees what that committed", async () => {
    const other = await Client.open();
    await other.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
    const order: string[] = [];
    const read = ids().then((found) => {
      order.push("read");
      return found;
    });
    await other.tx(db, "t1", ["INSERT INTO t VALUES (2)"]);
    order.push("second insert");
    await other.tx(db, "t1", [{ commit: true }]);
    expect(await read).toEqual([1, 2]);
    expect(order).toEqual(["second insert", "read"]);
    other.close();
  });

  test("batches that are sent without waiting are run in their order, and all answered", async () => {
    const sent = [1, 2, 3].map((id) =>
      client.send({ op: "batch", db, steps: [{ sql: `INSERT INTO t SELECT count(*) + ${id * 10} FROM t` }] }),
    );
    const answered = [await client.receive(), await client.receive(), await client.receive()];
    expect(answered.map(({ id }) => id)).toEqual(sent);
    expect(await ids()).toEqual([10, 21, 32]);
  });

  test("an error of SQL, or another schema, is an answer like any other", async () => {
    const serve = vi.spyOn(Tenant.prototype, "serve");
    expect(await client.batch(db, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)")).toMatchObject({
      error: { kind: "sql", effect: "none", step: 1 },
    });
    const steps = [{ sql: "INSERT INTO t VALUES (2)" }];
    expect(await client.ask({ op: "batch", db, expect: "ab", steps })).toMatchObject({
      error: { kind: "schema_mismatch", effect: "none", found: "" },
    });
    expect(await ids()).toEqual([]);
    expect(serve).not.toHaveBeenCalled();
  });

  test("the size can be asked for", async () => {
    expect(await client.ask({ op: "size", db })).toMatchObject({ results: [{ columns: ["size"] }] });
  });
});

describe("an answer leaves the object only when its writes are kept", () => {
  // Of such a key SQLite tells the violation when the runtime commits, after the statement's own success.
  const DEFERRED = "CREATE TABLE c (t REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)";

  test.each([
    ["as a call's first batch", true],
    ["on a call that is held", false],
  ])("a batch whose commit fails is no success: %s", async (_name, fresh) => {
    await client.batch(db, DEFERRED, "INSERT INTO t VALUES (1)", "INSERT INTO c VALUES (1)");
    if (fresh) await abortAllDurableObjects();
    const answer = await client.batch(db, "INSERT INTO t VALUES (2)", "INSERT INTO c VALUES (99)");
    expect(answer["results"]).toBeUndefined();
    expect(answer).toMatchObject({ error: { effect: "unknown" } });
    expect(await ids()).toEqual([1]);
    expect(await client.column(db, "SELECT t FROM c")).toEqual([1]);
  });

  test("a read behind a write that fails to commit does not show it", async () => {
    await client.batch(db, DEFERRED);
    const sent = ["INSERT INTO c VALUES (99)", "SELECT count(*) AS n FROM c"].map((sql) =>
      client.send({ op: "batch", db, steps: [{ sql }] }),
    );
    const answers = new Map([await client.receive(), await client.receive()].map((one) => [one["id"], one]));
    expect(answers.get(sent[0])).toMatchObject({ error: { effect: "unknown" } });
    expect(answers.get(sent[1])).toMatchObject({ results: [{ rows: [[0]] }] });
  });
});

test("after the object was reset the next batch has a call of its own", async () => {
  await abortAllDurableObjects();
  expect((await client.batch(db, "INSERT INTO t VALUES (1)"))["error"]).toBeUndefined();
  expect(await ids()).toEqual([1]);
});

test("an object can sleep as soon as the hold is over, and is woken by the next batch", async () => {
  vi.useRealTimers();
  const other = `${name}/sleeper`;
  await client.batch(`do:${other}`, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
  // It waits for the calls that are under way.
  await evictDurableObject(env.TENANTS.getByName(other));
  await client.batch(`do:${other}`, "INSERT INTO t VALUES (1)");
  expect(await client.column(`do:${other}`, "SELECT id FROM t")).toEqual([1]);
});

test("an object can sleep as soon as the client has gone", async () => {
  client.close();
  // It would wait for ever: no timer ends the hold here.
  await evictDurableObject(env.TENANTS.getByName(name));
  expect(vi.getTimerCount()).toBe(0);
});
