// The checks that turn an untrusted text into a request of the session protocol.

import {
  ProtocolError,
  type BatchRequest,
  type BookmarkRequest,
  type Database,
  type EraseRequest,
  type Key,
  type ObjectDatabase,
  type OutcomeRequest,
  type Request,
  type RestoreRequest,
  type Statement,
  type Step,
  type TransactionRequest,
} from "./protocol";

/** Steps of the largest request: on its way to an object each takes some 60 bytes in addition to its texts. */
const MAX_STEPS = 350_000;

const MIN_LEASE_MS = 100;
const MAX_LEASE_MS = 25_000;
const DEFAULT_LEASE_MS = 10_000;
const MAX_TRANSACTION_NAME = 64;
const MAX_SAVEPOINT_NAME = 256;
const SEGMENT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** A schema fingerprint, or empty for an object without a recorded schema. */
const FINGERPRINT = /^[0-9a-f]{0,64}$/;
/** A client's random number and the number of its write, within the range of exact JavaScript numbers. */
const KEY = /^([0-9a-f]{32}):([1-9][0-9]{0,14})$/;
/** The form of jurisdictions and location hints: which of them exist is the platform's to say. */
const PLACE = /^[a-z0-9-]{2,16}$/;
/** "A mostly alphanumeric string", by the platform's documentation. */
const BOOKMARK = /^[A-Za-z0-9_-]{1,200}$/;
const DATABASE_ID = /^[A-Za-z0-9_-]{1,64}$/;
/** A constraint of D1's sessions or a bookmark, which the runtime sends on as the value of an HTTP header. */
const D1_SESSION = /^[\x21-\x7e]{1,256}$/;

type Fields = Record<string, unknown>;

/** Reads one frame. Throws `ProtocolError`, whose message contains nothing of the frame but names of fields. */
export function parseRequest(text: string): Request {
  const frame = parseObject(text);
  const id = frame["id"];
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 1) {
    throw new ProtocolError("id must be a positive integer");
  }
  try {
    return readRequest(id, frame);
  } catch (error) {
    if (error instanceof ProtocolError) throw new ProtocolError(error.message, id, error.kind);
    throw error;
  }
}

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError("the frame is not JSON");
  }
  if (!isFields(value)) throw new ProtocolError("the frame is not a JSON object");
  return value;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readRequest(id: number, frame: Fields): Request {
  switch (frame["op"]) {
    case "ping":
      return { op: "ping", id };
    case "size":
      return { op: "size", id, database: readDatabase(frame["db"]) };
    case "place":
      return { op: "place", id, database: readObjectDatabase(frame, "D1 databases have no place here") };
    case "erase":
      return readErase(id, frame);
    case "bookmark":
      return readBookmark(id, frame);
    case "restore":
      return readRestore(id, frame);
    case "outcome":
      return readOutcome(id, frame);
    case "batch":
      return readBatch(id, frame);
    case "tx":
      return readTransaction(id, frame);
    default:
      throw new ProtocolError("op must be batch, tx, outcome, size, place, erase, bookmark, restore or ping");
  }
}

function readBatch(id: number, frame: Fields): BatchRequest {
  const database = readDatabase(frame["db"]);
  const expect = readExpectation(frame);
  if (expect !== undefined && database.kind === "d1") {
    throw new ProtocolError("expect is only for objects");
  }
  const key = readKey(frame);
  if (key !== undefined && database.kind === "d1") throw new ProtocolError("keys are only for objects");
  const again = readFlag(frame, "again");
  if (again && key === undefined) throw new ProtocolError("again needs a key");
  const location = readLocation(frame, database);
  const session = readSession(frame);
  if (session !== undefined && database.kind === "do") throw new ProtocolError("session is only for D1");
  return {
    op: "batch",
    id,
    database,
    expect,
    key,
    again,
    location,
    session,
    steps: readStatements(frame),
  };
}

function readErase(id: number, frame: Fields): EraseRequest {
  const database = readObjectDatabase(frame, "D1 databases cannot be erased");
  const fence = frame["fence"];
  if (fence !== undefined && (typeof fence !== "number" || !Number.isSafeInteger(fence) || fence < 0)) {
    throw new ProtocolError("fence must be an integer that is not negative");
  }
  return { op: "erase", id, database, fence };
}

function readBookmark(id: number, frame: Fields): BookmarkRequest {
  const database = readObjectDatabase(frame, "bookmarks are only for objects");
  const at = frame["at"];
  if (at !== undefined && (typeof at !== "number" || !Number.isSafeInteger(at) || at < 0))
    throw new ProtocolError("at must be a number of milliseconds since 1970");
  return { op: "bookmark", id, database, at };
}

function readRestore(id: number, frame: Fields): RestoreRequest {
  const database = readObjectDatabase(frame, "bookmarks are only for objects");
  const { bookmark } = frame;
  if (typeof bookmark !== "string" || !BOOKMARK.test(bookmark))
    throw new ProtocolError("bookmark must be a text of letters, digits and hyphens");
  return { op: "restore", id, database, bookmark, steps: readStatements(frame) };
}

function readOutcome(id: number, frame: Fields): OutcomeRequest {
  const database = readObjectDatabase(frame, "keys are only for objects");
  const key = readKey(frame);
  if (key === undefined) throw new ProtocolError("key is missing");
  return { op: "outcome", id, database, key, expect: readExpectation(frame) };
}

function readTransaction(id: number, frame: Fields): TransactionRequest {
  const tx = readText(frame, "tx", MAX_TRANSACTION_NAME);
  const database = readDatabase(frame["db"]);
  const begin = readFlag(frame, "begin");
  const leaseMs = frame["lease_ms"] ?? DEFAULT_LEASE_MS;
  if (typeof leaseMs !== "number" || !(leaseMs >= MIN_LEASE_MS && leaseMs <= MAX_LEASE_MS)) {
    throw new ProtocolError(`lease_ms must be a number from ${MIN_LEASE_MS} to ${MAX_LEASE_MS}`);
  }
  const expect = readExpectation(frame);
  if (expect !== undefined && !begin)
    throw new ProtocolError("expect is only for the request that begins the transaction");
  const location = readLocation(frame, database);
  if (location !== undefined && !begin)
    throw new ProtocolError("location is only for the request that begins the transaction");
  const steps = readSteps(frame);
  const end = steps.findIndex((step) => step.type === "commit" || step.type === "rollback");
  if (end >= 0 && end < steps.length - 1) {
    throw new ProtocolError("commit or rollback must be the last step of its request");
  }
  return { op: "tx", id, database, tx, begin, leaseMs, expect, location, steps };
}

/** Reads `do:<name>`, `do:<name>@<jurisdiction>` or `d1:<database id>`. Names are refused, never normalised. */
function readDatabase(value: unknown): Database {
  if (typeof value !== "string") throw new ProtocolError("db must be a string");
  const rest = value.slice(3);
  if (value.startsWith("do:")) return readObject(rest);
  if (value.startsWith("d1:") && DATABASE_ID.test(rest)) return { kind: "d1", name: rest };
  throw new ProtocolError("db must be do:<name>, do:<name>@<jurisdiction> or d1:<database id>");
}

function readObjectDatabase(frame: Fields, refusal: string): ObjectDatabase {
  const database = readDatabase(frame["db"]);
  if (database.kind === "d1") throw new ProtocolError(refusal);
  return database;
}

function readObject(text: string): ObjectDatabase {
  const at = text.indexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const jurisdiction = at < 0 ? undefined : text.slice(at + 1);
  const segments = name.split("/");
  if (segments.length > 4 || !segments.every((segment) => SEGMENT.test(segment))) {
    throw new ProtocolError("db is not a valid object name");
  }
  if (jurisdiction !== undefined && !PLACE.test(jurisdiction)) {
    throw new ProtocolError(
      "db has a jurisdiction that is not 2 to 16 lower-case letters, digits or hyphens",
    );
  }
  return { kind: "do", name, jurisdiction };
}

function readStatements(frame: Fields): Statement[] {
  return readSteps(frame).map((step) => {
    if (step.type !== "statement") throw new ProtocolError(`a batch cannot have a ${step.type} step`);
    return step;
  });
}

function readSteps(frame: Fields): Step[] {
  const steps = frame["steps"];
  if (!Array.isArray(steps)) throw new ProtocolError("steps must be a list");
  if (steps.length > MAX_STEPS) {
    throw new ProtocolError(`a request may have at most ${MAX_STEPS} steps`, null, "too_large");
  }
  return steps.map((step: unknown) => {
    if (!isFields(step)) throw new ProtocolError("a step must be an object");
    return readStep(step);
  });
}

const STEP_FIELDS = ["sql", "savepoint", "release", "rollback_to", "commit", "rollback"] as const;

function readStep(step: Fields): Step {
  const [type, ...others] = STEP_FIELDS.filter((field) => step[field] !== undefined);
  if (type === undefined || others.length > 0) {
    throw new ProtocolError(`a step must have one of ${STEP_FIELDS.join(", ")}`);
  }
  if (type === "sql") return readStatement(step);
  if (type === "commit" || type === "rollback") {
    if (step[type] !== true) throw new ProtocolError(`${type} must be true`);
    return type === "commit" ? { type, key: readKey(step) } : { type };
  }
  return { type, name: readText(step, type, MAX_SAVEPOINT_NAME) };
}

function readStatement(step: Fields): Statement {
  const { sql, params = [] } = step;
  if (typeof sql !== "string") throw new ProtocolError("sql must be a string");
  if (!Array.isArray(params) || !params.every((param) => typeof param === "string")) {
    throw new ProtocolError("params must be a list of strings");
  }
  return { type: "statement", sql, params, count: readFlag(step, "count"), meter: readFlag(step, "meter") };
}

function readText(fields: Fields, field: string, maxLength: number): string {
  const value = fields[field];
  if (typeof value !== "string" || value.length < 1 || value.length > maxLength) {
    throw new ProtocolError(`${field} must be a string of 1 to ${maxLength} characters`);
  }
  return value;
}

function readLocation(frame: Fields, { kind }: Database): string | undefined {
  const value = frame["location"];
  if (value === undefined) return undefined;
  if (kind === "d1") throw new ProtocolError("location is only for objects");
  if (typeof value !== "string" || !PLACE.test(value)) {
    throw new ProtocolError("location must be 2 to 16 lower-case letters, digits or hyphens");
  }
  return value;
}

function readExpectation(frame: Fields): string | undefined {
  const value = frame["expect"];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !FINGERPRINT.test(value)) {
    throw new ProtocolError("expect must be at most 64 hexadecimal digits");
  }
  return value;
}

function readSession(frame: Fields): string | undefined {
  const value = frame["session"];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !D1_SESSION.test(value)) {
    throw new ProtocolError("session must be 1 to 256 visible ASCII characters");
  }
  return value;
}

function readKey(fields: Fields): Key | undefined {
  const value = fields["key"];
  if (value === undefined) return undefined;
  const [, client, n] = (typeof value === "string" ? KEY.exec(value) : null) ?? [];
  if (client === undefined)
    throw new ProtocolError("key must be 32 hexadecimal digits, a colon and a number");
  return { client, n: Number(n) };
}

function readFlag(fields: Fields, field: string): boolean {
  const value = fields[field] ?? false;
  if (typeof value !== "boolean") throw new ProtocolError(`${field} must be true or false`);
  return value;
}
