// The Worker's side of a transaction by itself: what a client is told when the call to the object breaks.

import { expect, test } from "vitest";

import type { Answer, Step, TransactionRequest } from "../src/protocol";
import { RelayedTransaction } from "../src/relayed-transaction";

const SQL: Step = { type: "statement", sql: "SELECT 1", params: [], count: false, meter: false };
const COMMIT: Step = { type: "commit", key: { client: "a", n: 1 } };

function request(id: number, steps: Step[]): TransactionRequest {
  const database = { kind: "do", name: "a", jurisdiction: undefined } as const;
  const unset = { expect: undefined, location: undefined };
  return { op: "tx", id, database, tx: "t1", begin: id === 1, leaseMs: 1000, ...unset, steps };
}

test.each([
  ["a commit may have been carried out", [COMMIT], "unknown"],
  ["a commit behind a statement may have been, too", [SQL, COMMIT], "unknown"],
  ["a statement is undone with its transaction", [SQL], "ended"],
])("when the call to the object breaks in its work, %s", async (_name, steps, effect) => {
  const answers: Answer[] = [];
  const begin = request(1, [SQL]);
  const transaction = new RelayedTransaction(begin, (_id, answer) => answers.push(answer));
  transaction.send(request(2, steps));
  await transaction.run(begin, async (_begin, pull) => {
    await pull({ results: [] });
    throw Object.assign(new Error("Network connection lost."), { retryable: true });
  });
  expect(answers).toMatchObject([{ results: [] }, { error: { kind: "retry", effect } }]);
});

test("a commit is not turned away at the door of an object that has begun its transaction", async () => {
  const answers: Answer[] = [];
  const begin = request(1, [SQL]);
  const transaction = new RelayedTransaction(begin, (_id, answer) => answers.push(answer));
  transaction.send(request(2, [COMMIT]));
  await transaction.run(begin, async (_begin, pull) => {
    await pull({ results: [] });
    throw Object.assign(new Error("Durable Object is overloaded."), { overloaded: true });
  });
  expect(answers).toMatchObject([{ results: [] }, { error: { kind: "overloaded", effect: "unknown" } }]);
});
