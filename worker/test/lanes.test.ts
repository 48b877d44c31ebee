// Lanes: what stays open between two batches must not change what they see, nor lose one.

import { abortAllDurableObjects } from "cloudflare:test";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Lanes } from "../src/lanes";
import { Client } from "./client";

let counter = 0;
let db = "";
let client: Client;

beforeEach(async () => {
  counter += 1;
  db = `do:test/lanes/${counter}`;
  client = await Client.open();
  await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

test("a batch on an open lane waits for another session's transaction, and sees what it committed", async () => {
  const other = await Client.open();
  await other.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
  const order: string[] = [];
  const read = client.column(db, "SELECT id FROM t").then((ids) => {
    order.push("read");
    return ids;
  });
  await other.tx(db, "t1", ["INSERT INTO t VALUES (2)"]);
  order.push("second insert");
  await other.tx(db, "t1", [{ commit: true }]);
  expect(await read).toEqual([1, 2]);
  expect(order).toEqual(["second insert", "read"]);
  other.close();
});

test("a write after the object was reset runs on a new lane", async () => {
  await abortAllDurableObjects();
  expect((await client.batch(db, "INSERT INTO t VALUES (1)"))["error"]).toBeUndefined();
  expect(await client.column(db, "SELECT id FROM t")).toEqual([1]);
});

test("batches that are sent without waiting are all answered", async () => {
  const sent = [1, 2, 3].map((id) =>
    client.send({ op: "batch", db, steps: [{ sql: `INSERT INTO t VALUES (${id})` }] }),
  );
  const answered = [await client.receive(), await client.receive(), await client.receive()];
  expect(answered.map(({ id }) => id)).toEqual(sent);
  expect(await client.column(db, "SELECT count(*) FROM t")).toEqual([3]);
});

test("a lane that is too old gives back what it has not begun, and a new one runs it", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const runs: number[] = [];
  const lanes = new Lanes(async (_name, steps, next) => {
    const run = runs.push(0) - 1;
    let batch: typeof steps | null = steps;
    while (batch !== null) {
      runs[run] = (runs[run] ?? 0) + 1;
      batch = await next({ results: [`${run}`] });
    }
  });
  await lanes.batch("a", []);
  vi.setSystemTime(Date.now() + 6000);
  const answers = await Promise.all([lanes.batch("a", []), lanes.batch("a", [])]);
  expect(answers).toEqual([{ results: ["0"] }, { results: ["1"] }]);
  expect(runs).toEqual([2, 1]);
  lanes.close();
});
