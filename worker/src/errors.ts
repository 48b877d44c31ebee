// Tells from what the runtime threw which kind of error the client is to be told, the one place that reads messages.

import type { Effect, ErrorKind, Failure } from "./protocol";

/** A failure that stops the work in hand; thrown to leave a transaction, so that the runtime rolls it back. */
export class WorkFailed extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

const TRANSIENT = [
  "Network connection lost",
  "storage caused object to be reset",
  "reset because its code was updated",
  "Cannot resolve D1 DB due to transient issue",
];

/** How a call fails that an object does not know yet, or no more: its code is being updated. */
const NO_METHOD = "does not implement the method";

/** How D1 refuses what it does not run, in words without a code of SQLite. */
const REFUSED = /SQL statement|SQL query|SQL code|state\.storage\.transaction|D1_TYPE_ERROR|exceeded D1's/;

/** How the statement that guards deferred foreign keys fails. */
const FOREIGN_KEY_GUARD = /bad JSON path: '(FOREIGN KEY constraint failed: .*)'/;

/** An error of SQLite, in the words that the driver expects. */
export function sqlFailure(error: unknown, effect: Effect, step?: number): Failure {
  const message = messageOf(error).replace(/^(?:D1_ERROR: |Error: )+/, "");
  return { kind: "sql", message, effect, ...(step === undefined ? {} : { step }) };
}

/** An error thrown by a call to an object: its SQL errors come as answers, so this one is the runtime's. */
export function objectFailure(error: unknown, effect: Effect): Failure {
  const message = messageOf(error);
  if (message.includes(NO_METHOD))
    return { kind: "retry", message, effect: effect === "ended" ? effect : "none" };
  // An overloaded object turns calls away at its door, before it runs anything.
  if (hasFlag(error, "overloaded"))
    return { kind: "overloaded", message, effect: effect === "ended" ? effect : "none" };
  // The runtime hides by a reference what broke an object: a statement that ended the transaction around it.
  if (hasFlag(error, "durableObjectReset") || message.includes("reset") || isFatal(error))
    return { kind: "reset", message, effect };
  if (hasFlag(error, "retryable") || isTransient(message)) return { kind: "retry", message, effect };
  return { kind: "internal", message, effect };
}

/** Whether the runtime itself failed in a statement: SQLite may have lost the transaction around it. */
export function isFatal(error: unknown): boolean {
  return messageOf(error).startsWith("internal error");
}

/** An error reported by D1, where SQL errors and faults of the service come the same way. */
export function d1Failure(error: unknown, step?: number): Failure {
  const [, dangling] = FOREIGN_KEY_GUARD.exec(messageOf(error)) ?? [];
  if (dangling !== undefined) return { kind: "foreign_key", message: dangling, effect: "none" };
  const kind = d1Kind(messageOf(error));
  // A batch of D1 is atomic: what SQLite refused left nothing behind. Of a fault nobody knows.
  if (kind === "sql") return sqlFailure(error, "none", step);
  const { message } = sqlFailure(error, "none");
  return { kind, message, effect: kind === "overloaded" ? "none" : "unknown" };
}

function d1Kind(message: string): ErrorKind {
  if (/\bSQLITE_[A-Z]+/.test(message)) return "sql";
  if (/overloaded/i.test(message)) return "overloaded";
  if (isTransient(message)) return "retry";
  // What is not known to be a refusal, as a database reset in the middle, may have done its work.
  return REFUSED.test(message) ? "sql" : "internal";
}

function isTransient(message: string): boolean {
  return TRANSIENT.some((text) => message.includes(text));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "the runtime threw something that is no error";
}

function hasFlag(error: unknown, flag: string): boolean {
  return error instanceof Error && flag in error && Reflect.get(error, flag) === true;
}
