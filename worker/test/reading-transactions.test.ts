// An interactive transaction is one for the runtime from its first write on: until then there is nothing to undo.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test, vi } from "vitest";

import type { Step } from "../src/protocol";
import type { Outcome } from "../src/interactive";

const run = (sql: string): Step => ({ type: "statement", sql, params: [], count: false, meter: false });
const KEY = { client: "0".repeat(32), n: 1 };
const [read, write]: [Step, Step] = [run("SELECT v FROM t ORDER BY v"), run("INSERT INTO t VALUES (1)")];
const savepoint = (name: string): Step => ({ type: "savepoint", name });
const undo = (name: string): Step => ({ type: "rollback_to", name });
const release = (name: string): Step => ({ type: "release", name });

/** Runs a transaction whose requests are `rest`; its outcome, its answers, and how many transactions it opened. */
async function transact(
  name: string,
  ...[steps, ...rest]: [Step[], ...Step[][]]
): Promise<{ outcome: Outcome; answers: string[]; opened: number }> {
  return runInDurableObject(env.TENANTS.getByName(name), async (tenant, { storage }) => {
    storage.sql.exec("CREATE TABLE IF NOT EXISTS t (v)");
    const spy = vi.spyOn(storage, "transaction");
    const answers: string[] = [];
    const outcome = await tenant.interact({ name, leaseMs: 5000, steps }, (answer) => {
      answers.push(answer.error?.message ?? answer.results.join(" "));
      return Promise.resolve(rest.shift() ?? null);
    });
    if ("answer" in outcome) answers.push(outcome.answer.error?.message ?? outcome.answer.results.join(" "));
    const opened = spy.mock.calls.length;
    spy.mockRestore();
    return { outcome, answers, opened };
  });
}

const rows = (...values: number[]): string =>
  `{"columns":["v"],"rows":[${values.map((value) => `[${value}]`).join(",")}]}`;

test("reads open none, whatever their savepoints", async () => {
  const steps = [savepoint("a"), read, savepoint("b"), undo("b"), release("a")];
  const { outcome, answers, opened } = await transact(
    "test/reading/only",
    steps,
    [read],
    [{ type: "commit" }],
  );
  expect(opened).toBe(0);
  expect(outcome.end).toBe("commit");
  expect(answers).toEqual([`{} ${rows()} {} {} {}`, rows(), "{}"]);
});

test("a write opens those of the savepoints around it", async () => {
  const { answers, opened } = await transact(
    "test/reading/write",
    [savepoint("a"), read],
    [savepoint("b"), write, read],
    [undo("b"), read],
    [write, undo("a"), read],
    [write, { type: "commit" }],
  );
  expect(opened).toBeGreaterThanOrEqual(3);
  expect(answers[1]).toContain(rows(1));
  expect(answers[2]).toBe(`{} ${rows()}`);
  expect(answers[3]?.endsWith(rows())).toBe(true);
  const after = await transact("test/reading/write", [read]);
  expect(after.answers[0]).toBe(rows(1));
});

test("a savepoint that was released before the first write stays closed", async () => {
  const { answers } = await transact(
    "test/reading/released",
    [savepoint("a"), savepoint("b"), release("b"), write],
    [undo("b")],
    [undo("a"), read],
    [release("a"), undo("a")],
    [{ type: "commit" }],
  );
  expect(answers[1]).toContain("no such savepoint: b");
  expect(answers[2]).toBe(`{} ${rows()}`);
  expect(answers[3]).toContain("no such savepoint: a");
});

test("the key of a commit is a write", async () => {
  const { opened, outcome } = await transact("test/reading/key", [read], [{ type: "commit", key: KEY }]);
  expect(opened).toBe(1);
  expect(outcome.end).toBe("commit");
});

test("a read that fails leaves the transaction open", async () => {
  const { answers, opened } = await transact(
    "test/reading/fails",
    [run("SELECT nope FROM t")],
    [read],
    [write],
  );
  expect(answers[0]).toContain("no such column: nope");
  expect(answers[1]).toBe(rows());
  expect(opened).toBe(1);
});

test("other calls wait for a transaction that only reads", async () => {
  const name = "test/reading/waits";
  const stub = env.TENANTS.getByName(name);
  await stub.batch({ name, steps: [{ ...run("CREATE TABLE t (v)"), type: "statement" } as never] });
  const order: string[] = [];
  let other: Promise<unknown> = Promise.resolve();
  await stub.interact({ name, leaseMs: 5000, steps: [read] }, async () => {
    if (order.length > 0) return null;
    order.push("read");
    other = stub.batch({ name, steps: [write as never] }).then(() => order.push("other"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    order.push("read again");
    return [read];
  });
  await other;
  expect(order).toEqual(["read", "read again", "other"]);
});
