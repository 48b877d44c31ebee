// Faults of the runtime that no test can provoke: only what they look like is made up here.

import { expect, test } from "vitest";

import { d1Failure, objectFailure, sqlFailure } from "../src/errors";
import recorded from "./thirty-seconds.json";

const recordedFlags = {
  overloaded: recorded.overloaded,
  durableObjectReset: recorded.durableObjectReset,
};

function fault(message: string, flags: Record<string, boolean> = {}): Error {
  return Object.assign(new Error(message), flags);
}

test.each([
  [
    "an object of another version ran nothing",
    new TypeError('The RPC receiver does not implement the method "serve".'),
    "retry",
    "none",
  ],
  [
    "an overloaded object ran nothing",
    fault("Durable Object is overloaded.", { overloaded: true, retryable: true }),
    "overloaded",
    "none",
  ],
  [
    "a queue that was too long for it ran nothing",
    fault(
      "Your account is generating too much load on Durable Objects. Please back off and try again later.",
      {
        overloaded: true,
      },
    ),
    "overloaded",
    "none",
  ],
  [
    "the recorded error of the 30 s limit may have been kept",
    fault(recorded.message, recordedFlags),
    "reset",
    "unknown",
  ],
  [
    "a storage that did not confirm in time may have been kept",
    fault("Durable Object storage operation exceeded timeout which caused object to be reset.", {
      overloaded: true,
    }),
    "reset",
    "unknown",
  ],
  [
    "an isolate without memory may have been kept",
    fault("Durable Object's isolate exceeded its memory limit and was reset.", { overloaded: true }),
    "reset",
    "unknown",
  ],
  [
    "an overloaded object that was reset may have been kept, whatever its words are",
    fault("Durable Object is overloaded.", { overloaded: true, durableObjectReset: true }),
    "reset",
    "unknown",
  ],
  [
    "what is flagged as overloaded in other words may have been kept",
    fault("something new", { overloaded: true }),
    "overloaded",
    "unknown",
  ],
  ["a reset object", fault("Durable Object was reset", { durableObjectReset: true }), "reset", "unknown"],
  [
    "new code",
    fault("Durable Object reset because its code was updated.", { retryable: true }),
    "reset",
    "unknown",
  ],
  ["an error that the runtime hides", fault("internal error; reference = abc"), "reset", "unknown"],
  ["a lost connection", fault("Network connection lost.", { retryable: true }), "retry", "unknown"],
  ["anything else", fault("something new"), "internal", "unknown"],
  ["what is no error", "text", "internal", "unknown"],
])("a call to an object that ends by %s", (_name, error, kind, effect) => {
  expect(objectFailure(error, "unknown")).toMatchObject({ kind, effect });
});

test.each([
  ["an SQL error", "D1_ERROR: no such table: nope: SQLITE_ERROR", "sql", "none"],
  [
    "an overloaded database",
    "D1_ERROR: D1 DB is overloaded. Requests queued for too long.",
    "overloaded",
    "none",
  ],
  [
    "an account with too much load",
    "D1_ERROR: Your account is generating too much load on D1 and is overloading the service.",
    "overloaded",
    "none",
  ],
  [
    "a request whose client went away",
    "D1_ERROR: Can't read from request stream because client disconnected.",
    "retry",
    "unknown",
  ],
  ["an overload in other words", "D1_ERROR: D1 was overloaded in the middle.", "overloaded", "unknown"],
  [
    "an overloaded database that was reset",
    "D1_ERROR: D1 DB is overloaded and was reset.",
    "internal",
    "unknown",
  ],
  ["a passing fault", "D1_ERROR: Network connection lost.", "retry", "unknown"],
  ["a reset", "D1_ERROR: D1 DB storage caused object to be reset.", "retry", "unknown"],
  ["a reset by its CPU", "D1_ERROR: D1 DB exceeded its CPU time limit and was reset.", "internal", "unknown"],
  [
    "a reset by its storage",
    "D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.",
    "internal",
    "unknown",
  ],
  ["what nobody has seen yet", "D1_ERROR: something new", "internal", "unknown"],
  ["no statement", "D1_ERROR: No SQL statements detected.", "sql", "none"],
  ["a quota", "D1_ERROR: Your account has exceeded D1's daily row write limit.", "sql", "none"],
  ["an internal error", "D1_ERROR: internal error; reference = abc", "internal", "unknown"],
  [
    "a deferred foreign key",
    "D1_ERROR: bad JSON path: 'FOREIGN KEY constraint failed: c row 3 -> p': SQLITE_ERROR",
    "foreign_key",
    "none",
  ],
])("D1 reports %s", (_name, message, kind, effect) => {
  const failure = d1Failure(fault(message));
  expect(failure).toMatchObject({ kind, effect });
  expect(failure.message).not.toContain("D1_ERROR");
});

test("the step is told where it is known", () => {
  expect(sqlFailure(fault("no such table: nope: SQLITE_ERROR"), "statement", 2)).toEqual({
    kind: "sql",
    message: "no such table: nope: SQLITE_ERROR",
    effect: "statement",
    step: 2,
  });
  expect(d1Failure(fault("x: SQLITE_ERROR"))).not.toHaveProperty("step");
});
