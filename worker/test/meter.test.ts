// Rows read and written: told only to who asks, and never at the price of an answer.

import { beforeEach, describe, expect, test } from "vitest";

import { Client } from "./client";

interface Result {
  columns: string[];
  rows: unknown[][];
  rows_read?: number;
  rows_written?: number;
}

let counter = 0;
let client: Client;

beforeEach(async () => {
  counter += 1;
  client = await Client.open();
});

/** Runs SQL as one batch that asks for the rows read and written. */
async function metered(db: string, ...sql: string[]): Promise<Result[]> {
  const answer = await client.ask({
    op: "batch",
    db,
    steps: sql.map((text) => ({ sql: text, meter: true })),
  });
  expect(answer["error"]).toBeUndefined();
  return answer["results"] as Result[];
}

const usage = ({ rows_read, rows_written }: Result): unknown[] => [rows_read, rows_written];

describe("on an object", () => {
  let db = "";

  beforeEach(async () => {
    db = `do:test/meter/${counter}`;
    await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)", "CREATE INDEX ta ON t (a)");
    await client.batch(db, "INSERT INTO t SELECT value, value % 2 FROM json_each('[1,2,3,4,5,6]')");
  });

  test("each statement tells its own, to whoever asked", async () => {
    const [key, scan, write] = await metered(
      db,
      "SELECT id, a FROM t WHERE id = 3",
      "SELECT id FROM t WHERE a + 0 = 1",
      "UPDATE t SET a = 9 WHERE id = 3",
    );
    expect(key && usage(key)).toEqual([1, 0]);
    expect(scan && usage(scan)).toEqual([6, 0]);
    // The row, and the index's old and new entry.
    expect(write && usage(write)).toEqual([1, 2]);
  });

  test("nothing is told to who has not asked", async () => {
    expect(await client.batch(db, "SELECT id FROM t WHERE id = 3")).toEqual({
      results: [{ columns: ["id"], rows: [[3]] }],
    });
  });

  test("a transaction's statements tell theirs, beside the counts", async () => {
    const step = { sql: "DELETE FROM t WHERE id = 2", count: true, meter: true };
    const answer = await client.ask({ op: "tx", db, tx: "t1", begin: true, steps: [step] });
    expect(answer).toMatchObject({ results: [{ changes: 1, rows_read: 1, rows_written: 1 }] });
    await client.ask({ op: "tx", db, tx: "t1", steps: [{ commit: true }] });
  });
});

describe("on D1", () => {
  const db = "d1:d0b41d9e-0000-4000-8000-000000000007";

  beforeEach(async () => {
    const drop = ["t", "u"].map((name) => `DROP TABLE IF EXISTS ${name}`);
    await client.batch(db, ...drop, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    await client.batch(db, "INSERT INTO t SELECT value, value FROM json_each('[1,2,3,4,5,6]')", "SELECT 1");
  });

  test("a batch's statements tell theirs", async () => {
    const [write, read] = await metered(db, "UPDATE t SET a = 9 WHERE id = 3", "SELECT a FROM t WHERE a > 5");
    expect(write && usage(write)).toEqual([1, 1]);
    expect(read?.rows).toEqual([[9], [6]]);
    expect(read && usage(read)).toEqual([6, 0]);
  });

  test("a counted statement alone tells its own", async () => {
    const step = { sql: "DELETE FROM t WHERE id = 1", count: true, meter: true };
    const answer = await client.ask({ op: "batch", db, steps: [step] });
    expect(answer).toMatchObject({ results: [{ changes: 1, rows_read: 1, rows_written: 1 }] });
  });

  test.each([
    ["rows", "SELECT id, a FROM t WHERE id = 3", 1],
    ["an empty result", "SELECT id, a FROM t WHERE a = 99", 6],
    ["a count", "SELECT count(*) FROM t", 6],
  ])("a read alone tells its own from its second time on: %s", async (_name, sql, read) => {
    const [first] = await metered(db, sql);
    const [second] = await metered(db, sql);
    expect(first).toEqual({ columns: second?.columns, rows: second?.rows });
    expect(second && usage(second)).toEqual([read, 0]);
  });

  test.each([
    [
      "two columns of one name",
      "SELECT t.id, s.id FROM t JOIN t s ON s.id = t.id + 1 WHERE t.id = 1",
      [1, 2],
    ],
    ["names that JavaScript puts in another order", "SELECT 'x' AS a, 2", ["x", 2]],
    ["columns behind a star", "SELECT * FROM t WHERE id = 1", [1, 1]],
  ])("a read that D1 may not tell apart is never metered: %s", async (_name, sql, row) => {
    for (let time = 0; time < 2; time += 1) {
      const [result] = await metered(db, sql);
      expect(result?.rows).toEqual([row]);
      expect(result?.rows_read).toBeUndefined();
    }
  });

  test("a read whose columns have got one name in the meantime is still right", async () => {
    await client.batch(db, 'CREATE TABLE u ("ID", t)', "INSERT INTO u VALUES (70, 1)");
    const sql = "SELECT t.id, u.id FROM t JOIN u ON u.t = t.id";
    await metered(db, sql);
    await client.batch(db, 'ALTER TABLE u RENAME COLUMN "ID" TO x', "ALTER TABLE u RENAME COLUMN x TO id");
    const [result] = await metered(db, sql);
    expect(result).toEqual({ columns: ["id", "id"], rows: [[1, 70]] });
  });
});
