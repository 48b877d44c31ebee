// A query runs without a transaction, which the runtime would wait for as for a write.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test, vi } from "vitest";

import type { Answer, Statement } from "../src/protocol";
import { readsOnly } from "../src/statement";

const statement = (sql: string): Statement => ({
  type: "statement",
  sql,
  params: [],
  count: false,
  meter: false,
});

/** Runs batches in a new object; what each answered, and the transactions that it opened. */
async function run(
  name: string,
  ...batches: string[][]
): Promise<{ answer: Answer; transactions: number }[]> {
  return runInDurableObject(env.TENANTS.getByName(name), (tenant, { storage }) => {
    tenant.batch({ name, steps: [statement("CREATE TABLE t (id INTEGER PRIMARY KEY)")] });
    const opened = vi.spyOn(storage, "transactionSync");
    return batches.map((sqls) => {
      opened.mockClear();
      const answer = tenant.batch({ name, steps: sqls.map(statement) });
      return { answer, transactions: opened.mock.calls.length };
    });
  });
}

test("a batch of queries opens no transaction, and one that writes does", async () => {
  const query = "WITH some AS (SELECT 1 AS a) SELECT a FROM some";
  const [one, two, write, mixed] = await run(
    "test/reads/plain",
    ["SELECT count(*) FROM t"],
    [query, "VALUES (2);"],
    ["INSERT INTO t VALUES (1)"],
    ["SELECT 1", "INSERT INTO t VALUES (2)"],
  );
  expect(one).toEqual({ answer: { results: ['{"columns":["count(*)"],"rows":[[0]]}'] }, transactions: 0 });
  expect(two?.transactions).toBe(0);
  expect(two?.answer.results).toHaveLength(2);
  expect(write?.transactions).toBe(2);
  expect(mixed?.transactions).toBe(2);
});

test("a query that fails says which it was, and leaves the object usable", async () => {
  const [failing, after] = await run("test/reads/fails", ["SELECT 1", "SELECT nope"], ["SELECT 2 AS a"]);
  expect(failing?.answer.error).toMatchObject({ kind: "sql", effect: "none", step: 1 });
  expect(after?.answer.results).toEqual(['{"columns":["a"],"rows":[[2]]}']);
});

test.each([
  "WITH some AS (SELECT 1) INSERT INTO t SELECT * FROM some",
  "SELECT 1; DELETE FROM t",
  "DELETE FROM t RETURNING id",
  "PRAGMA defer_foreign_keys=on",
  "/* SELECT */ DROP TABLE t",
  "-- SELECT\nDROP TABLE t",
])("%s is not taken for a query", (sql) => {
  expect(readsOnly(statement(sql))).toBe(false);
});
