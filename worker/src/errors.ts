// Turns what the runtime threw into the kind of error for the client; no other file reads the runtime's messages.

import type { Effect, ErrorKind, Failure } from "./protocol";

/** A failure that stops the work in hand; thrown to leave a transaction, so that the runtime rolls it back. */
export class WorkFailed extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** https://developers.cloudflare.com/d1/observability/debug-d1/ lists the errors after which to try again. */
const TRANSIENT = [
  "Network connection lost",
  "storage caused object to be reset",
  "reset because its code was updated",
  "Cannot resolve D1 DB due to transient issue",
  "client disconnected",
];

/**
 * The platform's refusal of work before it runs. Anything else that is flagged `overloaded` may be durable:
 * the runtime sets the flag on its 30 s limits and on resets for memory, too.
 */
const TURNED_AWAY = /\bis overloaded\b|\btoo much load\b/i;

/** The error for a method that the object's code does not have: its code is being updated. */
const NO_METHOD = "does not implement the method";

/** D1's own refusals, which have no SQLite code. */
const REFUSED = /SQL statement|SQL query|SQL code|state\.storage\.transaction|D1_TYPE_ERROR|exceeded D1's/;

/**
 * D1's refusal of a bookmark. No page lists its words: the binding's own error begins with D1_SESSION_ERROR, and the
 * method that compares a database with a bookmark names it.
 */
const BOOKMARK = /\bbookmark|D1_SESSION_ERROR/i;

/** The error of the statement that guards deferred foreign keys. */
const FOREIGN_KEY_GUARD = /bad JSON path: '(FOREIGN KEY constraint failed: .*)'/;

/** An error of SQLite, in the form that the driver expects. */
export function sqlFailure(error: unknown, effect: Effect, step?: number): Failure {
  const message = messageOf(error).replace(/^(?:D1_ERROR: |Error: )+/, "");
  return { kind: "sql", message, effect, ...(step === undefined ? {} : { step }) };
}

/** An error thrown by a call to an object: its SQL errors come as answers, so this one is the runtime's. */
export function objectFailure(error: unknown, effect: Effect): Failure {
  const message = messageOf(error);
  const nothingRan = effect === "ended" ? effect : "none";
  if (message.includes(NO_METHOD)) return { kind: "retry", message, effect: nothingRan };
  // Before `overloaded`: an object may be reset for a limit after its write was kept, and then carries both flags.
  // The runtime shows only a reference if a statement ended the transaction around it and so broke the object.
  if (wasReset(error) || isFatal(error)) return { kind: "reset", message, effect };
  if (hasFlag(error, "overloaded"))
    return { kind: "overloaded", message, effect: TURNED_AWAY.test(message) ? nothingRan : effect };
  if (hasFlag(error, "retryable") || isTransient(message)) return { kind: "retry", message, effect };
  return { kind: "internal", message, effect };
}

/** Whether the runtime itself failed in a statement: SQLite may have lost the transaction around it. */
export function isFatal(error: unknown): boolean {
  return messageOf(error).startsWith("internal error");
}

/** An error that D1 reports; SQL errors and faults of the service come the same way. */
export function d1Failure(error: unknown, step?: number): Failure {
  const [, dangling] = FOREIGN_KEY_GUARD.exec(messageOf(error)) ?? [];
  if (dangling !== undefined) return { kind: "foreign_key", message: dangling, effect: "none" };
  const kind = d1Kind(error);
  // A batch of D1 is atomic, so SQLite's refusal left nothing behind. A fault may come before or after the work.
  if (kind === "sql") return sqlFailure(error, "none", step);
  const { message } = sqlFailure(error, "none");
  return { kind, message, effect: kind === "overloaded" && TURNED_AWAY.test(message) ? "none" : "unknown" };
}

function d1Kind(error: unknown): ErrorKind {
  const message = messageOf(error);
  if (/\bSQLITE_[A-Z]+/.test(message)) return "sql";
  if (isTransient(message)) return "retry";
  if (BOOKMARK.test(message)) return "bad_session";
  if ((/overloaded/i.test(message) || TURNED_AWAY.test(message)) && !wasReset(error)) return "overloaded";
  // Anything but a certain refusal may have done its work, as a database that was reset half-way.
  return REFUSED.test(message) ? "sql" : "internal";
}

/** Whether the object or database was reset: earlier work may be kept. */
function wasReset(error: unknown): boolean {
  return hasFlag(error, "durableObjectReset") || /\breset\b/i.test(messageOf(error));
}

function isTransient(message: string): boolean {
  return TRANSIENT.some((text) => message.includes(text));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "the runtime threw something other than an error";
}

function hasFlag(error: unknown, flag: string): boolean {
  return error instanceof Error && flag in error && Reflect.get(error, flag) === true;
}
