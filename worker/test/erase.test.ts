// An object that holds nothing gives its storage back, and goes on as a new one.

import { env } from "cloudflare:workers";
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
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

const SCHEMA = [
  "CREATE TABLE _do_bridge_meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
  "INSERT INTO _do_bridge_meta (key, value) VALUES ('fence', '7 owner'), ('schema', 'f1')",
  "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
];
const WRITE = { steps: [{ sql: "INSERT INTO t (v) VALUES ('x')" }], expect: "f1" };
/** What the runtime reports of an object that holds nothing, not even a table of its own. */
const ONE_PAGE = 4096;
const size = (client: Client, db: string) => client.ask({ op: "size", db });

test("with a fence all tables go, unless a newer lease has written", async () => {
  const client = await Client.open();
  const db = "do:test/erase/fence";
  await client.batch(db, ...SCHEMA);
  expect(await client.ask({ op: "erase", db, fence: 6 })).toMatchObject({ results: [{ rows: [[0]] }] });
  expect(await client.batch(db, "SELECT count(*) AS n FROM t")).toMatchObject({ results: [{ rows: [[0]] }] });
  expect(await client.ask({ op: "erase", db, fence: 7 })).toMatchObject({ results: [{ rows: [[1]] }] });
  expect(await tables("test/erase/fence")).toEqual([]);
  expect(await size(client, db)).toMatchObject({ results: [{ rows: [[ONE_PAGE]] }] });
  // Reading does not bring the storage back.
  expect(await client.ask({ op: "batch", db, ...WRITE })).toMatchObject({
    error: { kind: "schema_mismatch", found: "" },
  });
  expect(await size(client, db)).toMatchObject({ results: [{ rows: [[ONE_PAGE]] }] });
  client.close();
});

test.each([-1, 0.5, "7", null])("the fence %j is refused", async (fence) => {
  const client = await Client.open();
  expect(await client.ask({ op: "erase", db: "do:test/erase/odd", fence })).toMatchObject({
    error: { kind: "bad_request", effect: "none" },
  });
  client.close();
});

test("the schema and the keys that the instance remembers go with the storage", async () => {
  const client = await Client.open();
  const db = "do:test/erase/memory";
  await client.batch(db, ...SCHEMA);
  expect(await client.ask({ op: "batch", db, key: KEY, ...WRITE })).not.toHaveProperty("error");
  await client.ask({ op: "erase", db, fence: 7 });
  const again = { op: "batch", db, key: KEY, again: true, ...WRITE };
  // The tenant may have moved, and its keys with it.
  expect(await client.ask(again)).toMatchObject({
    error: { kind: "schema_mismatch", effect: "unknown", found: "" },
  });
  expect(await client.ask({ op: "outcome", db, key: KEY })).toMatchObject({
    results: [{ rows: [["unknown"]] }],
  });
  // Nothing was promised, so nothing is stored.
  expect(await size(client, db)).toMatchObject({ results: [{ rows: [[ONE_PAGE]] }] });
  await client.batch(db, ...SCHEMA);
  expect(await client.ask(again)).toMatchObject({ error: { kind: "stale_key", effect: "unknown" } });
  // What was sent once has not run before.
  expect(await client.ask({ op: "batch", db, key: KEY, ...WRITE })).not.toHaveProperty("error");
  expect(await client.ask(again)).not.toHaveProperty("error");
  expect(await client.batch(db, "SELECT count(*) AS n FROM t")).toMatchObject({ results: [{ rows: [[1]] }] });
  client.close();
});

test("an erased object stays empty and promises nothing once its instance is gone, too", async () => {
  const client = await Client.open();
  const name = "test/erase/evicted";
  const db = `do:${name}`;
  await client.batch(db, ...SCHEMA);
  expect(await client.ask({ op: "batch", db, key: KEY, ...WRITE })).not.toHaveProperty("error");
  await client.ask({ op: "erase", db, fence: 7 });
  await evictDurableObject(env.TENANTS.getByName(name));
  // The write was carried out, and its key went with the storage.
  expect(await client.ask({ op: "batch", db, key: KEY, again: true, ...WRITE })).toMatchObject({
    error: { kind: "schema_mismatch", effect: "unknown", found: "" },
  });
  expect(await client.ask({ op: "outcome", db, key: KEY, expect: "f1" })).toMatchObject({
    results: [{ rows: [["unknown"]] }],
  });
  expect(await tables(name)).not.toContainEqual({ name: "_do_bridge_keys" });
  client.close();
});

test.each([undefined, "", "f1", "f2"])(
  "an object with a schema settles a key if %j is expected",
  async (expected) => {
    const client = await Client.open();
    const db = `do:test/erase/settled-${expected ?? "any"}0`;
    await client.batch(db, ...SCHEMA);
    expect(await client.ask({ op: "outcome", db, key: KEY, expect: expected })).toMatchObject({
      results: [{ rows: [["none"]] }],
    });
    client.close();
  },
);

test("an object that was made again refuses a repeated write, whatever its instance remembers", async () => {
  const client = await Client.open();
  const db = "do:test/erase/remade";
  const made = "INSERT INTO _do_bridge_meta (key, value) VALUES ('remade', unixepoch() - ";
  const again = { op: "batch", db, key: KEY, again: true, ...WRITE };
  await client.batch(db, ...SCHEMA, `${made} 3600)`);
  expect(await client.ask(again)).toMatchObject({ error: { kind: "stale_key", effect: "unknown" } });
  // After a day no client repeats a write.
  await client.batch(db, "DELETE FROM _do_bridge_meta WHERE key = 'remade'", `${made} 90000)`);
  expect(await client.ask(again)).not.toHaveProperty("error");
  client.close();
});

test("a call that is held open goes on in the erased object", async () => {
  const client = await Client.open();
  const db = "do:test/erase/held";
  await client.batch(db, ...SCHEMA);
  // One after the other without a pause, so that the second finds the first one's call.
  client.send({ op: "batch", db, ...WRITE });
  client.send({ op: "erase", db, fence: 7 });
  client.send({ op: "batch", db, ...WRITE });
  const frames = [await client.receive(), await client.receive(), await client.receive()];
  expect(frames.filter((frame) => "error" in frame).length).toBeLessThanOrEqual(1);
  expect(await client.ask({ op: "batch", db, ...WRITE })).toMatchObject({
    error: { kind: "schema_mismatch", found: "" },
  });
  expect(await size(client, db)).toMatchObject({ results: [{ rows: [[ONE_PAGE]] }] });
  client.close();
});

test("an open transaction is waited for, and what it wrote goes", async () => {
  const client = await Client.open();
  const db = "do:test/erase/open";
  await client.batch(db, ...SCHEMA);
  await client.tx(db, "t1", ["INSERT INTO t (v) VALUES ('late')"], { begin: true });
  const asked = client.send({ op: "erase", db, fence: 7 });
  const committed = client.send({ op: "tx", db, tx: "t1", steps: [{ commit: true }] });
  expect(await client.receive()).toMatchObject({ id: committed });
  expect(await client.receive()).toMatchObject({ id: asked, results: [{ rows: [[1]] }] });
  expect(await tables("test/erase/open")).toEqual([]);
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
