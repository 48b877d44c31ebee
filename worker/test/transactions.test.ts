// Interactive transactions: isolation, leases, clients that go.

import { abortAllDurableObjects } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Tenant } from "../src/tenant";
import { Client, transactionFrame } from "./client";

let counter = 0;
let db = "";
let client: Client;

beforeEach(async () => {
  counter += 1;
  db = `do:test/transactions/${counter}`;
  client = await Client.open();
  await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE)");
});

afterEach(() => vi.useRealTimers());

const ids = (): Promise<unknown[]> => client.column(db, "SELECT id FROM t ORDER BY id");

describe("when the lease runs out", () => {
  test("all is undone, and every later request of the transaction is told so", async () => {
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true, lease_ms: 100 });
    // This one waits for its turn on the object: it is answered when the lease has run out.
    expect(await ids()).toEqual([]);
    for (const steps of [["SELECT 1"], [{ commit: true }]]) {
      const answer = await client.tx(db, "t1", steps);
      expect(answer["error"]).toMatchObject({ kind: "lease_expired", effect: "ended" });
    }
  });

  test("savepoints that are open go too", async () => {
    const steps = [{ savepoint: "a" }, "INSERT INTO t VALUES (1, 'x')", { savepoint: "b" }];
    await client.tx(db, "t1", steps, { begin: true, lease_ms: 100 });
    expect(await ids()).toEqual([]);
  });

  test.each([
    ["waits for each answer", 1],
    ["sends ahead", 20],
  ])("a client that is never idle is told, too: one that %s", async (_name, ahead) => {
    client.send(
      transactionFrame(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true, lease_ms: 100 }),
    );
    const begun = Date.now();
    for (let sent = 1; sent < ahead; sent += 1) client.send(transactionFrame(db, "t1", ["SELECT 1"]));
    let answer = await client.receive();
    while (answer["error"] === undefined && Date.now() - begun < 2000) {
      client.send(transactionFrame(db, "t1", ["SELECT 1"]));
      answer = await client.receive();
    }
    expect(answer["error"]).toMatchObject({ kind: "lease_expired", effect: "ended" });
    const other = await Client.open();
    expect(await other.column(db, "SELECT id FROM t")).toEqual([]);
    other.close();
  });

  test("a clock that was set back meanwhile makes the lease begin anew, and no longer", async () => {
    await client.tx(db, "t1", [], { begin: true, lease_ms: 100 });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"]);
    expect(await ids()).toEqual([]);
  }, 5_000);

  test("the object takes the next transaction", async () => {
    await client.tx(db, "t1", [], { begin: true, lease_ms: 100 });
    const answer = await client.tx(db, "t2", ["INSERT INTO t VALUES (2, 'y')", { commit: true }], {
      begin: true,
    });
    expect(answer["error"]).toBeUndefined();
    expect(await ids()).toEqual([2]);
  });
});

test("a transaction that names no lease has ten seconds", async () => {
  const interact = vi.spyOn(Tenant.prototype, "interact");
  await client.tx(db, "t1", [{ commit: true }], { begin: true });
  expect(interact.mock.calls.map(([call]) => call.leaseMs)).toEqual([10_000]);
  interact.mockRestore();
});

test("the lease does not count the time that a transaction waits for its turn", async () => {
  const other = await Client.open();
  await other.tx(db, "first", [], { begin: true, lease_ms: 400 });
  const answer = await client.tx(db, "second", ["INSERT INTO t VALUES (1, 'x')"], {
    begin: true,
    lease_ms: 200,
  });
  expect(answer["error"]).toBeUndefined();
  expect((await client.tx(db, "second", [{ commit: true }]))["error"]).toBeUndefined();
  expect(await ids()).toEqual([1]);
});

test("an object whose code is of before the commits' keys is given no transaction", async () => {
  const { interact } = Tenant.prototype;
  const steps = ["INSERT INTO t VALUES (1, 'x')"];
  // Such code answers to the name of that time alone.
  Reflect.deleteProperty(Tenant.prototype, "interact");
  Reflect.set(Tenant.prototype, "transact", interact);
  try {
    const answer = await client.tx(db, "t1", steps, { begin: true });
    expect(answer["error"]).toMatchObject({ effect: "ended" });
  } finally {
    Tenant.prototype.interact = interact;
    Reflect.deleteProperty(Tenant.prototype, "transact");
  }
  await client.tx(db, "t2", [...steps, { commit: true }], { begin: true });
  expect(await ids()).toEqual([1]);
});

describe("when the client goes", () => {
  test("in the middle of a transaction, all is undone at once and not at the end of the lease", async () => {
    const gone = await Client.open();
    await gone.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')", { savepoint: "s" }], {
      begin: true,
      lease_ms: 20_000,
    });
    gone.close();
    expect(await ids()).toEqual([]);
  }, 5_000);

  test("while its begin waits for its turn, it leaves no transaction behind", async () => {
    const gone = await Client.open();
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    gone.send(
      transactionFrame(db, "t2", ["INSERT INTO t VALUES (2, 'y')"], { begin: true, lease_ms: 20_000 }),
    );
    gone.close();
    await client.tx(db, "t1", [{ commit: true }]);
    expect(await ids()).toEqual([1]);
  }, 5_000);

  test("with further requests on the way, none of them commits", async () => {
    const gone = await Client.open();
    await gone.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    await client.ask({ op: "ping" });
    gone.close();
    expect(await ids()).toEqual([]);
  }, 5_000);
});

describe("two transactions", () => {
  test("of two clients on one object run one after the other", async () => {
    const other = await Client.open();
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    other.send(transactionFrame(db, "t1", ["SELECT count(*) AS n FROM t"], { begin: true }));
    await client.tx(db, "t1", ["INSERT INTO t VALUES (2, 'y')", { commit: true }]);
    // The second began when the first had ended, so it sees all of it.
    expect(await other.receive()).toMatchObject({ results: [{ rows: [[2]] }] });
    other.close();
  });

  test("of one session on one object wait for each other, while other databases are served", async () => {
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    const waiting = client.send(transactionFrame(db, "t2", ["SELECT count(*) AS n FROM t"], { begin: true }));
    const elsewhere = await client.batch("do:test/transactions/elsewhere", "SELECT 1 AS a");
    expect(elsewhere).toMatchObject({ results: [{ rows: [[1]] }] });
    const commit = client.send(transactionFrame(db, "t1", [{ commit: true }]));
    const answers = [await client.receive(), await client.receive()];
    expect(answers.find(({ id }) => id === commit)?.["error"]).toBeUndefined();
    expect(answers.find(({ id }) => id === waiting)).toMatchObject({ results: [{ rows: [[1]] }] });
  });

  test("on different objects are open at once in one session", async () => {
    const second = `${db}/b`;
    await client.batch(second, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    await client.tx(second, "t2", ["INSERT INTO t VALUES (2)"], { begin: true });
    await client.tx(db, "t1", [{ rollback: true }]);
    await client.tx(second, "t2", [{ commit: true }]);
    expect(await ids()).toEqual([]);
    expect(await client.column(second, "SELECT id FROM t")).toEqual([2]);
  });
});

test("a batch on an object waits for the transaction that is open there", async () => {
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
  const batch = client.send({ op: "batch", db, steps: [{ sql: "SELECT count(*) AS n FROM t" }] });
  const commit = client.send(transactionFrame(db, "t1", [{ commit: true }]));
  const answers = [await client.receive(), await client.receive()];
  expect(answers.find(({ id }) => id === commit)?.["error"]).toBeUndefined();
  expect(answers.find(({ id }) => id === batch)).toMatchObject({ results: [{ rows: [[1]] }] });
});

test.each([
  ["several rows of which the second fails", "INSERT INTO t VALUES (2, 'y'), (3, 'x')"],
  ["several rows with RETURNING", "INSERT INTO t VALUES (2, 'y'), (3, 'x') RETURNING id"],
  ["OR FAIL, which SQLite alone would leave half done", "INSERT OR FAIL INTO t VALUES (2, 'y'), (3, 'x')"],
  ["several statements in one text", "INSERT INTO t VALUES (2, 'y'); INSERT INTO t VALUES (3, 'x')"],
])("a failed step undoes itself alone: %s", async (_name, sql) => {
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
  const answer = await client.tx(db, "t1", [sql]);
  expect(answer["error"]).toMatchObject({ kind: "sql", effect: "statement", step: 0 });
  await client.tx(db, "t1", ["INSERT INTO t VALUES (4, 'z')", { commit: true }]);
  expect(await ids()).toEqual([1, 4]);
});

test("a statement that throws the transaction away ends it for the client too", async () => {
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
  const answer = await client.tx(db, "t1", ["INSERT OR ROLLBACK INTO t VALUES (2, 'x')"]);
  expect(answer["error"]).toMatchObject({ effect: "ended" });
  expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toMatchObject({ effect: "ended" });
  expect(await ids()).toEqual([]);
});

test("a commit in which the runtime fails has an unknown outcome, and what it did not keep is gone", async () => {
  await client.batch(db, "CREATE TABLE c (t REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)");
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')", "INSERT INTO c VALUES (99)"], { begin: true });
  const answer = await client.tx(db, "t1", [{ commit: true }]);
  expect(answer["error"]).toMatchObject({ kind: "reset", effect: "unknown" });
  expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toMatchObject({ kind: "no_transaction" });
  expect(await ids()).toEqual([]);
});

test("savepoints of the same name hide one another", async () => {
  await client.tx(db, "t1", [{ savepoint: "s" }, "INSERT INTO t VALUES (1, 'a')"], { begin: true });
  await client.tx(db, "t1", [{ savepoint: "s" }, "INSERT INTO t VALUES (2, 'b')", { rollback_to: "s" }]);
  await client.tx(db, "t1", [{ release: "s" }, "INSERT INTO t VALUES (3, 'c')"]);
  await client.tx(db, "t1", [{ rollback_to: "s" }, "INSERT INTO t VALUES (4, 'd')", { commit: true }]);
  expect(await ids()).toEqual([4]);
});

test("savepoints nest 60 deep, and the next one is refused", async () => {
  const nested = Array.from({ length: 60 }, (_value, index) => ({ savepoint: `s${index}` }));
  await client.tx(db, "t1", [...nested, "INSERT INTO t VALUES (1, 'x')"], { begin: true });
  const refused = await client.tx(db, "t1", [{ savepoint: "more" }]);
  expect(refused["error"]).toMatchObject({ kind: "unsupported", effect: "statement" });
  const ended = await client.tx(db, "t1", [
    "INSERT INTO t VALUES (2, 'y')",
    { rollback_to: "s59" },
    { commit: true },
  ]);
  expect(ended["error"]).toBeUndefined();
  expect(await ids()).toEqual([]);
});

describe("when the object is reset", () => {
  test("a transaction that waits for its begin is told", async () => {
    const other = await Client.open();
    await other.tx(db, "t1", [], { begin: true });
    client.send(transactionFrame(db, "t2", ["SELECT 1"], { begin: true }));
    expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
    await abortAllDurableObjects();
    expect(await client.receive()).toMatchObject({ error: { effect: "ended" } });
  });

  test("an open transaction is told at its next request, and nothing of it is left", async () => {
    await client.tx(db, "t1", ["INSERT INTO t VALUES (1, 'x')"], { begin: true });
    await abortAllDurableObjects();
    const answer = await client.tx(db, "t1", [{ commit: true }]);
    expect(answer).toMatchObject({ error: { effect: "ended" } });
    expect(await ids()).toEqual([]);
  });
});
