// An object that holds nothing gives its storage back, and goes on as a new one.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";

import { Client } from "./client";

const KEY = `${"e".repeat(32)}:1`;

/** The tables that stand in an object, the runtime's own among them. */
function tables(name: string): Promise<unknown[]> {
  return runInDurableObject(env.TENANTS.getByName(name), (_tenant, { storage }) =>
    storage.sql.exec("SELECT name FROM sqlite_master").toArray(),
  );
}

test("an empty object is erased, with the runtime's own tables, and can be used again", async () => {
  const client = await Client.open();
  const db = "do:test/erase/empty";
  await client.batch(
    db,
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
    "INSERT INTO t DEFAULT VALUES",
  );
  await client.batch(db, "DROP TABLE t");
  expect(await tables("test/erase/empty")).not.toEqual([]);
  expect(await client.ask({ op: "erase", db })).toEqual({ results: [{ columns: ["erased"], rows: [[1]] }] });
  expect(await tables("test/erase/empty")).toEqual([]);
  // Again, as after a lost answer.
  expect(await client.ask({ op: "erase", db })).toMatchObject({ results: [{ rows: [[1]] }] });
  const steps = [{ sql: "CREATE TABLE t (id INTEGER PRIMARY KEY)" }];
  expect(await client.ask({ op: "batch", db, steps, key: KEY })).not.toHaveProperty("error");
  expect(
    await client.ask({ op: "batch", db, steps: [{ sql: "SELECT id FROM t" }], expect: "" }),
  ).toMatchObject({
    results: [{ rows: [] }],
  });
  client.close();
});

test.each([
  ["a table", "CREATE TABLE kept (id INTEGER PRIMARY KEY)"],
  ["a view", "CREATE VIEW kept AS SELECT 1"],
])("an object with %s is left as it is", async (what, sql) => {
  const client = await Client.open();
  const name = `test/erase/${what.replace(" ", "-")}`;
  await client.batch(`do:${name}`, sql);
  expect(await client.ask({ op: "erase", db: `do:${name}` })).toMatchObject({ results: [{ rows: [[0]] }] });
  expect(await tables(name)).toContainEqual({ name: "kept" });
  client.close();
});

test("an object that has promised never to run a write is left as it is", async () => {
  const client = await Client.open();
  const db = "do:test/erase/promised";
  expect(await client.ask({ op: "outcome", db, key: KEY })).toMatchObject({
    results: [{ rows: [["none"]] }],
  });
  expect(await client.ask({ op: "erase", db })).toMatchObject({ results: [{ rows: [[0]] }] });
  client.close();
});

test("a transaction that is open is waited for", async () => {
  const client = await Client.open();
  const db = "do:test/erase/waits";
  await client.tx(db, "t1", ["CREATE TABLE late (id INTEGER PRIMARY KEY)"], { begin: true });
  const asked = client.send({ op: "erase", db });
  const committed = client.send({ op: "tx", db, tx: "t1", steps: [{ commit: true }] });
  expect(await client.receive()).toMatchObject({ id: committed });
  expect(await client.receive()).toMatchObject({ id: asked, results: [{ rows: [[0]] }] });
  client.close();
});

test("a D1 database is not erased", async () => {
  const client = await Client.open();
  const db = "d1:d0b41d9e-0000-4000-8000-000000000001";
  expect(await client.ask({ op: "erase", db })).toMatchObject({
    error: { kind: "bad_request", effect: "none" },
  });
  client.close();
});
