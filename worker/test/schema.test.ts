// What an object remembers of its schema, and when it looks again.

import { beforeEach, expect, test } from "vitest";

import { Client } from "./client";

let counter = 0;
let db = "";
let client: Client;

beforeEach(async () => {
  counter += 1;
  db = `do:test/schema/${counter}`;
  client = await Client.open();
  await client.batch(
    db,
    "CREATE TABLE _do_bridge_meta (key TEXT PRIMARY KEY, value TEXT)",
    "INSERT INTO _do_bridge_meta VALUES ('schema', 'aa')",
  );
});

const found = async (expected: string): Promise<unknown> => {
  const steps = [{ sql: "SELECT 1 AS a" }];
  const answer = await client.ask({ op: "batch", db, expect: expected, steps });
  return (answer["error"] as { found: string } | undefined)?.found ?? expected;
};

test("a new fingerprint counts from the next request on", async () => {
  expect(await found("aa")).toBe("aa");
  await client.batch(db, "UPDATE _do_bridge_meta SET value = 'bb' WHERE key = 'schema'");
  expect(await found("aa")).toBe("bb");
});

test("a fingerprint that was rolled back never counts", async () => {
  await client.tx(db, "t1", ["UPDATE _do_bridge_meta SET value = 'bb'"], { begin: true, expect: "aa" });
  await client.tx(db, "t1", [{ rollback: true }]);
  expect(await found("bb")).toBe("aa");
});

test("a transaction that waited for a migration is told of the new schema", async () => {
  await client.tx(db, "t1", ["UPDATE _do_bridge_meta SET value = 'bb'"], { begin: true, expect: "aa" });
  const other = await Client.open();
  const waiting = other.tx(db, "t1", ["SELECT 1 AS a"], { begin: true, expect: "aa" });
  await client.tx(db, "t1", [{ commit: true }]);
  expect(await waiting).toMatchObject({ error: { kind: "schema_mismatch", effect: "none", found: "bb" } });
  other.close();
});

test("a table that was dropped leaves no fingerprint", async () => {
  expect(await found("aa")).toBe("aa");
  await client.batch(db, "DROP TABLE _do_bridge_meta");
  expect(await found("aa")).toBe("");
});
