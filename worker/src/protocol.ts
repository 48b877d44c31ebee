// The session protocol: the types of its requests and answers, and the text of an answer.

import { PROTOCOL } from "./version";

export const SUBPROTOCOL = `do-bridge.v${PROTOCOL}`;

/** Bytes of the largest request frame. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** Bytes of the largest answer: an RPC between the Worker and an object carries 32 MiB, its envelope included. */
export const MAX_ANSWER_BYTES = 30 * 1000 * 1000;

export type ErrorKind =
  | "sql"
  | "bad_request"
  | "forbidden"
  | "too_large"
  | "unknown_database"
  | "unsupported"
  | "bad_bookmark"
  | "no_transaction"
  | "lease_expired"
  | "foreign_key"
  | "schema_mismatch"
  | "stale_key"
  | "answer_lost"
  | "bad_session"
  | "session_limit"
  | "retry"
  | "overloaded"
  | "reset"
  | "internal";

/** What became of the work of a failed request. */
export type Effect = "none" | "statement" | "ended" | "unknown" | "done";

export interface Failure {
  kind: ErrorKind;
  message: string;
  effect: Effect;
  /** Index of the failed step, if it is known. */
  step?: number;
  /** The schema fingerprint of the object if another one was expected; empty for none. */
  found?: string;
}

/** What a session of D1 has reached, and who has served its statements if D1 reports it. */
export interface D1SessionAnswer {
  bookmark: string | null;
  region?: string;
  /** Whether the primary has served all of them. */
  primary?: boolean;
}

/** An answer on its way to the client: `results` are JSON texts, one for each step that ran. */
export interface Answer {
  results: string[];
  session?: D1SessionAnswer;
  error?: Failure;
}

export interface Statement {
  type: "statement";
  sql: string;
  params: string[];
  count: boolean;
  /** Whether to report the rows read and written. */
  meter: boolean;
}

export interface SavepointStep {
  type: "savepoint" | "release" | "rollback_to";
  name: string;
}

export interface EndStep {
  type: "commit" | "rollback";
  /** The idempotency key of the commit, in case its answer is lost. */
  key?: Key | undefined;
}

/** The idempotency key of a write: its client, and a number that grows from one write of the client to the next. */
export interface Key {
  client: string;
  n: number;
}

/** What became of a key's work; `unknown` if the client has gone on to a later key. */
export type KeyOutcome = "done" | "none" | "unknown";

export type ControlStep = SavepointStep | EndStep;

export type Step = Statement | ControlStep;

export interface ObjectDatabase {
  kind: "do";
  /** The object's own name, without its jurisdiction. */
  name: string;
  /** Part of the object's identity: another jurisdiction has another object of the same name. */
  jurisdiction: string | undefined;
}

export interface D1DatabaseName {
  kind: "d1";
  name: string;
}

export type Database = ObjectDatabase | D1DatabaseName;

export interface BatchRequest {
  op: "batch";
  id: number;
  database: Database;
  /** The schema fingerprint without which nothing may run. */
  expect: string | undefined;
  key: Key | undefined;
  /** Whether the same request may have been sent before. */
  again: boolean;
  /** Where the object is created if it does not exist. */
  location: string | undefined;
  /** The constraint or the bookmark with which to open a session of D1 for this request alone. */
  session: string | undefined;
  steps: Statement[];
}

export interface TransactionRequest {
  op: "tx";
  id: number;
  database: Database;
  tx: string;
  begin: boolean;
  leaseMs: number;
  expect: string | undefined;
  location: string | undefined;
  steps: Step[];
}

export interface PingRequest {
  op: "ping";
  id: number;
}

export interface SizeRequest {
  op: "size";
  id: number;
  database: Database;
}

export interface PlaceRequest {
  op: "place";
  id: number;
  database: ObjectDatabase;
}

export interface EraseRequest {
  op: "erase";
  id: number;
  database: ObjectDatabase;
  /** The highest fencing token whose data may go; without it only an empty object is erased. */
  fence: number | undefined;
}

export interface BookmarkRequest {
  op: "bookmark";
  id: number;
  database: ObjectDatabase;
  /** Milliseconds since 1970; without it the bookmark is that of now. */
  at: number | undefined;
}

export interface RestoreRequest {
  op: "restore";
  id: number;
  database: ObjectDatabase;
  bookmark: string;
  /** What must succeed first. It is part of what the restore takes back. */
  steps: Statement[];
}

export interface OutcomeRequest {
  op: "outcome";
  id: number;
  database: ObjectDatabase;
  key: Key;
  /** The schema fingerprint that the work expected. */
  expect: string | undefined;
}

export type Request =
  | BatchRequest
  | TransactionRequest
  | OutcomeRequest
  | SizeRequest
  | PlaceRequest
  | EraseRequest
  | BookmarkRequest
  | RestoreRequest
  | PingRequest;

/** A frame that cannot be served; `id` is the request's if it could be read. */
export class ProtocolError extends Error {
  readonly kind: ErrorKind;
  readonly id: number | null;

  constructor(message: string, id: number | null = null, kind: ErrorKind = "bad_request") {
    super(message);
    this.kind = kind;
    this.id = id;
  }
}

/** The name of an object as the protocol writes it behind `do:`; no two objects share it. */
export function fullName({ name, jurisdiction }: { name: string; jurisdiction: string | undefined }): string {
  return jurisdiction === undefined ? name : `${name}@${jurisdiction}`;
}

/** Writes the frame that answers request `id`. */
export function answerFrame(id: number | null, { results, session, error }: Answer): string {
  if (error === undefined) {
    const reached = session === undefined ? "" : `"session":${JSON.stringify(session)},`;
    return `{"id":${id},${reached}"results":[${results.join(",")}]}`;
  }
  const partial = results.length > 0 ? `"results":[${results.join(",")}],` : "";
  return `{"id":${id},${partial}"error":${JSON.stringify(error)}}`;
}
