// D1's columns and counts, where its binding would merge the ones and lose the others.

import { beforeEach, describe, expect, test } from "vitest";

import { Client } from "./client";

const db = "d1:d0b41d9e-0000-4000-8000-000000000006";
let client: Client;

beforeEach(async () => {
  client = await Client.open();
  await client.batch(db, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
});

const ids = (): Promise<unknown[]> => client.column(db, "SELECT id FROM t ORDER BY id");

describe("a step that writes in a batch", () => {
  test("with several statements in one text runs each of them once", async () => {
    await client.batch(db, "INSERT INTO t (a) VALUES (1)", "SELECT 1; INSERT INTO t (a) VALUES (2)");
    expect(await client.column(db, "SELECT a FROM t ORDER BY a")).toEqual([1, 2]);
  });

  test("with RETURNING runs once, and its rows have their columns in order", async () => {
    const sql = "INSERT INTO t (a) VALUES ('x'), ('y') RETURNING id, a, id * 2 AS twice";
    const answer = await client.batch(db, "DELETE FROM t", sql);
    const columns = ["id", "a", "twice"];
    expect(answer).toMatchObject({
      results: [
        {},
        {
          columns,
          rows: [
            [1, "x", 2],
            [2, "y", 4],
          ],
        },
      ],
    });
    expect(await ids()).toEqual([1, 2]);
  });

  test("with WITH before it runs once", async () => {
    await client.batch(db, "DELETE FROM t", "WITH q AS (SELECT 7 AS n) INSERT INTO t (id) SELECT n FROM q");
    expect(await ids()).toEqual([7]);
  });
});

test.each([
  ["two columns of one name", "SELECT 1 AS id, 2 AS id"],
  ["two columns of one name behind a comment", "-- why\nSELECT 1 AS id, 2 AS id"],
  ["two columns of one name behind another statement", "PRAGMA foreign_keys; SELECT 1 AS id, 2 AS id"],
  ["names that JavaScript puts in another order", "SELECT 'x' AS a, 2"],
  ["RETURNING with a column twice", "INSERT INTO t (a) VALUES (1) RETURNING id, id"],
])("a batch that writes never gives wrong columns in silence: %s", async (_name, sql) => {
  const answer = await client.batch(db, "INSERT INTO t (id) VALUES (50)", sql);
  expect(answer).toMatchObject({ error: { kind: "unsupported", effect: "unknown", step: 1 } });
});

test("a counted statement with RETURNING and a column twice is refused, too", async () => {
  const step = { sql: "INSERT INTO t (a) VALUES (1) RETURNING id, id", count: true };
  const answer = await client.ask({ op: "batch", db, steps: [step] });
  expect(answer).toMatchObject({ error: { kind: "unsupported", effect: "unknown", step: 0 } });
});

test("reads within a batch that writes see what it has written", async () => {
  const answer = await client.batch(db, "INSERT INTO t VALUES (5, 'x')", "SELECT id, a FROM t");
  expect(answer).toMatchObject({ results: [{}, { columns: ["id", "a"], rows: [[5, "x"]] }] });
});

test("of several reads the one that fails is named", async () => {
  const answer = await client.batch(db, "SELECT 1 AS a", "SELECT nope");
  expect(answer).toMatchObject({ error: { kind: "sql", effect: "none", step: 1 } });
});

test("changes counts the rows that the statement itself has changed, not those of a cascade", async () => {
  await client.batch(
    db,
    "DROP TABLE IF EXISTS c",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, t REFERENCES t (id) ON DELETE CASCADE)",
    "INSERT INTO t (id) VALUES (1)",
    "INSERT INTO c (t) VALUES (1), (1), (1)",
  );
  const count = true;
  const steps = [
    { sql: "DELETE FROM t", count },
    { sql: "CREATE TABLE IF NOT EXISTS t (id)", count },
  ];
  const answer = await client.ask({ op: "batch", db, steps });
  expect(answer).toMatchObject({ results: [{ changes: 1 }, { changes: 0 }] });
  await client.batch(db, "DROP TABLE c");
});
