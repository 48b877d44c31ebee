// What a key costs, and what it leaves alone.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";

import { WriteKeys } from "../src/keys";
import { Client } from "./client";

const CLIENT = "0123456789abcdef0123456789abcdef";

/** Adds up what the runtime counts while `work` runs. */
function metered(sql: SqlStorage, work: (sql: SqlStorage) => void): { read: number; written: number } {
  const cursors: { rowsRead: number; rowsWritten: number }[] = [];
  work(
    new Proxy(sql, {
      get: (target, name) => {
        if (name !== "exec") return Reflect.get(target, name) as unknown;
        return (text: string, ...params: unknown[]) => {
          const cursor = target.exec(text, ...params);
          cursors.push(cursor);
          return cursor;
        };
      },
    }),
  );
  const sum = (field: "rowsRead" | "rowsWritten"): number =>
    cursors.reduce((total, cursor) => total + cursor[field], 0);
  return { read: sum("rowsRead"), written: sum("rowsWritten") };
}

test("a further key of a client reads one row and writes one", async () => {
  const stub = env.TENANTS.getByName("keys/cost");
  await runInDurableObject(stub, (_, { storage }) => {
    const write = (sql: SqlStorage, n: number): void => {
      const keys = new WriteKeys(sql);
      const known = keys.recall({ client: CLIENT, n });
      if ("results" in known) throw new Error("the key is not there yet");
      keys.keep(known, ['{"columns":[],"rows":[]}']);
    };
    write(storage.sql, 1);
    expect(metered(storage.sql, (sql) => write(sql, 2))).toEqual({ read: 1, written: 1 });
  });
});

test("a key changes neither the last row's id nor what the schema is remembered to be", async () => {
  const client = await Client.open();
  const db = "do:keys/quiet";
  await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const steps = [{ sql: "INSERT INTO t VALUES (41)", count: true }];
  const answer = await client.ask({ op: "batch", db, key: `${CLIENT}:1`, expect: "", steps });
  expect(answer).toEqual({ results: [{ columns: [], rows: [], changes: 1, last_row_id: 41 }] });
  expect(await client.column(db, "SELECT last_insert_rowid()")).toEqual([41]);
  const again = await client.ask({ op: "batch", db, key: `${CLIENT}:1`, expect: "", steps });
  expect(again).toEqual(answer);
  expect(await client.column(db, "SELECT count(*) FROM t")).toEqual([1]);
  client.close();
});

test("a batch of no steps has an answer that is kept, too", async () => {
  const client = await Client.open();
  const request = { op: "batch", db: "do:keys/none", key: `${CLIENT}:1`, steps: [] };
  expect(await client.ask(request)).toEqual({ results: [] });
  expect(await client.ask(request)).toEqual({ results: [] });
  client.close();
});

test("work whose key can't be written is undone, and a transaction is over", async () => {
  const client = await Client.open();
  const db = "do:keys/unwritable";
  const create = [{ sql: "CREATE TABLE t (id)" }];
  await client.ask({ op: "batch", db, key: `${CLIENT}:1`, steps: create });
  // As a database that is full does.
  const refuse = "BEGIN SELECT RAISE(ABORT, 'full'); END";
  await client.batch(db, `CREATE TRIGGER full BEFORE INSERT ON _do_bridge_keys ${refuse}`);
  const insert = { sql: "INSERT INTO t VALUES (1)" };
  const batch = await client.ask({ op: "batch", db, key: `${CLIENT}:2`, steps: [insert] });
  expect(batch["error"]).toMatchObject({ kind: "sql", effect: "none" });
  const steps = [insert, { commit: true, key: `${CLIENT}:3` }];
  const committed = await client.tx(db, "t1", steps, { begin: true });
  expect(committed["error"]).toMatchObject({ kind: "sql", effect: "ended" });
  expect((await client.tx(db, "t1", [insert]))["error"]).toMatchObject({ kind: "no_transaction" });
  expect(await client.column(db, "SELECT id FROM t")).toEqual([]);
  client.close();
});
