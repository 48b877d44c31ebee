var __defProp = Object.defineProperty;
var __name = (target, value) => __defProp(target, "name", { value, configurable: true });

// auth.ts
var TOKENS = [
  ["RELAY_TOKEN", "all"],
  ["RELAY_TOKEN_PREVIOUS", "all"],
  ["RELAY_TOKEN_TENANTS", "tenants"],
  ["RELAY_TOKEN_TENANTS_PREVIOUS", "tenants"],
  ["RELAY_TOKEN_DIRECTORY", "directory"],
  ["RELAY_TOKEN_DIRECTORY_PREVIOUS", "directory"]
];
var SECRET = /^[\x21-\x7e]{32,}$/;
function isSecret(text) {
  return text !== void 0 && SECRET.test(text);
}
__name(isSecret, "isSecret");
function shownToken(request) {
  const [, token] = /^Bearer ([^\s]+)$/.exec(request.headers.get("Authorization") ?? "") ?? [];
  return token === void 0 ? null : digest(token);
}
__name(shownToken, "shownToken");
async function accessOf(shown, secrets) {
  if (!isSecret(secrets.RELAY_TOKEN)) return "unconfigured";
  if (shown === null) return "denied";
  let access = "denied";
  for (const [name, scope] of TOKENS) {
    const secret = secrets[name];
    const same = isSecret(secret) && crypto.subtle.timingSafeEqual(shown, await digest(secret));
    if (same && access === "denied") access = scope;
  }
  return access;
}
__name(accessOf, "accessOf");
function scopeRefusal(scope, { kind }) {
  if (scope === "tenants" && kind === "d1") return "the session's token is only for objects (do:)";
  if (scope === "directory" && kind === "do") return "the session's token is only for D1 (d1:)";
  return null;
}
__name(scopeRefusal, "scopeRefusal");
function digest(text) {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
__name(digest, "digest");

// protocol.ts
var SUBPROTOCOL = "do-bridge.v1";
var MAX_REQUEST_BYTES = 16 * 1024 * 1024;
var MAX_ANSWER_BYTES = 30 * 1e3 * 1e3;
var MAX_STEPS = 35e4;
var MIN_LEASE_MS = 100;
var MAX_LEASE_MS = 25e3;
var DEFAULT_LEASE_MS = 1e4;
var MAX_TRANSACTION_NAME = 64;
var MAX_SAVEPOINT_NAME = 256;
var SEGMENT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
var FINGERPRINT = /^[0-9a-f]{0,64}$/;
var KEY = /^([0-9a-f]{32}):([1-9][0-9]{0,14})$/;
var DATABASE_ID = /^[A-Za-z0-9_-]{1,64}$/;
var ProtocolError = class extends Error {
  static {
    __name(this, "ProtocolError");
  }
  kind;
  id;
  constructor(message, id = null, kind = "bad_request") {
    super(message);
    this.kind = kind;
    this.id = id;
  }
};
function parseRequest(text) {
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
__name(parseRequest, "parseRequest");
function parseObject(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError("the frame is not JSON");
  }
  if (!isFields(value)) throw new ProtocolError("the frame is not a JSON object");
  return value;
}
__name(parseObject, "parseObject");
function isFields(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
__name(isFields, "isFields");
function readRequest(id, frame) {
  switch (frame["op"]) {
    case "ping":
      return { op: "ping", id };
    case "size":
      return { op: "size", id, database: readDatabase(frame["db"]) };
    case "erase":
      return readErase(id, frame);
    case "outcome":
      return readOutcome(id, frame);
    case "batch":
      return readBatch(id, frame);
    case "tx":
      return readTransaction(id, frame);
    default:
      throw new ProtocolError("op must be batch, tx, outcome, size, erase or ping");
  }
}
__name(readRequest, "readRequest");
function readBatch(id, frame) {
  const database = readDatabase(frame["db"]);
  const expect = readExpectation(frame);
  if (expect !== void 0 && database.kind === "d1") {
    throw new ProtocolError("expect is only for objects");
  }
  const key = readKey(frame);
  if (key !== void 0 && database.kind === "d1") throw new ProtocolError("keys are only for objects");
  const again = readFlag(frame, "again");
  if (again && key === void 0) throw new ProtocolError("again needs a key");
  return { op: "batch", id, database, expect, key, again, steps: readStatements(frame) };
}
__name(readBatch, "readBatch");
function readErase(id, frame) {
  const database = readDatabase(frame["db"]);
  if (database.kind === "d1") throw new ProtocolError("D1 databases cannot be erased");
  return { op: "erase", id, database };
}
__name(readErase, "readErase");
function readOutcome(id, frame) {
  const database = readDatabase(frame["db"]);
  if (database.kind === "d1") throw new ProtocolError("keys are only for objects");
  const key = readKey(frame);
  if (key === void 0) throw new ProtocolError("key is missing");
  return { op: "outcome", id, database, key };
}
__name(readOutcome, "readOutcome");
function readTransaction(id, frame) {
  const tx = readText(frame, "tx", MAX_TRANSACTION_NAME);
  const database = readDatabase(frame["db"]);
  const begin = readFlag(frame, "begin");
  const leaseMs = frame["lease_ms"] ?? DEFAULT_LEASE_MS;
  if (typeof leaseMs !== "number" || !(leaseMs >= MIN_LEASE_MS && leaseMs <= MAX_LEASE_MS)) {
    throw new ProtocolError(`lease_ms must be a number from ${MIN_LEASE_MS} to ${MAX_LEASE_MS}`);
  }
  const expect = readExpectation(frame);
  if (expect !== void 0 && !begin)
    throw new ProtocolError("expect is only for the request that begins the transaction");
  const steps = readSteps(frame);
  const end2 = steps.findIndex((step) => step.type === "commit" || step.type === "rollback");
  if (end2 >= 0 && end2 < steps.length - 1) {
    throw new ProtocolError("commit or rollback must be the last step of its request");
  }
  return { op: "tx", id, database, tx, begin, leaseMs, expect, steps };
}
__name(readTransaction, "readTransaction");
function readDatabase(value) {
  if (typeof value !== "string") throw new ProtocolError("db must be a string");
  const name = value.slice(3);
  if (value.startsWith("do:")) {
    const segments = name.split("/");
    if (segments.length > 4 || !segments.every((segment) => SEGMENT.test(segment))) {
      throw new ProtocolError("db is not a valid object name");
    }
    return { kind: "do", name };
  }
  if (value.startsWith("d1:") && DATABASE_ID.test(name)) return { kind: "d1", name };
  throw new ProtocolError("db must be do:<name> or d1:<database id>");
}
__name(readDatabase, "readDatabase");
function readStatements(frame) {
  return readSteps(frame).map((step) => {
    if (step.type !== "statement") throw new ProtocolError(`a batch cannot have a ${step.type} step`);
    return step;
  });
}
__name(readStatements, "readStatements");
function readSteps(frame) {
  const steps = frame["steps"];
  if (!Array.isArray(steps)) throw new ProtocolError("steps must be a list");
  if (steps.length > MAX_STEPS) {
    throw new ProtocolError(`a request may have at most ${MAX_STEPS} steps`, null, "too_large");
  }
  return steps.map((step) => {
    if (!isFields(step)) throw new ProtocolError("a step must be an object");
    return readStep(step);
  });
}
__name(readSteps, "readSteps");
var STEP_FIELDS = ["sql", "savepoint", "release", "rollback_to", "commit", "rollback"];
function readStep(step) {
  const [type, ...others] = STEP_FIELDS.filter((field) => step[field] !== void 0);
  if (type === void 0 || others.length > 0) {
    throw new ProtocolError(`a step must have one of ${STEP_FIELDS.join(", ")}`);
  }
  if (type === "sql") return readStatement(step);
  if (type === "commit" || type === "rollback") {
    if (step[type] !== true) throw new ProtocolError(`${type} must be true`);
    return type === "commit" ? { type, key: readKey(step) } : { type };
  }
  return { type, name: readText(step, type, MAX_SAVEPOINT_NAME) };
}
__name(readStep, "readStep");
function readStatement(step) {
  const { sql, params = [] } = step;
  if (typeof sql !== "string") throw new ProtocolError("sql must be a string");
  if (!Array.isArray(params) || !params.every((param) => typeof param === "string")) {
    throw new ProtocolError("params must be a list of strings");
  }
  return { type: "statement", sql, params, count: readFlag(step, "count"), meter: readFlag(step, "meter") };
}
__name(readStatement, "readStatement");
function readText(fields, field, maxLength) {
  const value = fields[field];
  if (typeof value !== "string" || value.length < 1 || value.length > maxLength) {
    throw new ProtocolError(`${field} must be a string of 1 to ${maxLength} characters`);
  }
  return value;
}
__name(readText, "readText");
function readExpectation(frame) {
  const value = frame["expect"];
  if (value === void 0) return void 0;
  if (typeof value !== "string" || !FINGERPRINT.test(value)) {
    throw new ProtocolError("expect must be at most 64 hexadecimal digits");
  }
  return value;
}
__name(readExpectation, "readExpectation");
function readKey(fields) {
  const value = fields["key"];
  if (value === void 0) return void 0;
  const [, client, n] = (typeof value === "string" ? KEY.exec(value) : null) ?? [];
  if (client === void 0)
    throw new ProtocolError("key must be 32 hexadecimal digits, a colon and a number");
  return { client, n: Number(n) };
}
__name(readKey, "readKey");
function readFlag(fields, field) {
  const value = fields[field] ?? false;
  if (typeof value !== "boolean") throw new ProtocolError(`${field} must be true or false`);
  return value;
}
__name(readFlag, "readFlag");
function answerFrame(id, { results, error }) {
  if (error === void 0) return `{"id":${id},"results":[${results.join(",")}]}`;
  const partial = results.length > 0 ? `"results":[${results.join(",")}],` : "";
  return `{"id":${id},${partial}"error":${JSON.stringify(error)}}`;
}
__name(answerFrame, "answerFrame");

// d1-columns.ts
var LONGEST = 1e4;
var INDEX_LIKE = /^(?:0|[1-9][0-9]*)$/;
function keepTheirOrder(columns) {
  return columns.length === 1 || !columns.some((column) => INDEX_LIKE.test(column));
}
__name(keepTheirOrder, "keepTheirOrder");
var KnownColumns = class {
  static {
    __name(this, "KnownColumns");
  }
  #byDatabase = /* @__PURE__ */ new WeakMap();
  /** The columns of this text's rows, if they differ as properties. */
  of(database, sql) {
    return this.#byDatabase.get(database)?.get(sql);
  }
  note(database, sql, columns) {
    if (sql.length > LONGEST || !keepTheirOrder(columns) || new Set(columns).size < columns.length) return;
    if (columns.length > 1 && sql.includes("*")) return;
    const known = this.#byDatabase.get(database) ?? /* @__PURE__ */ new Map();
    this.#byDatabase.set(database, known.set(sql, columns));
  }
};
function haveColumns([row], columns) {
  if (row === void 0) return true;
  const keys = Object.keys(row);
  return keys.length === columns.length && keys.every((key, index) => key === columns[index]);
}
__name(haveColumns, "haveColumns");

// errors.ts
var WorkFailed = class extends Error {
  static {
    __name(this, "WorkFailed");
  }
  failure;
  constructor(failure) {
    super(failure.message);
    this.failure = failure;
  }
};
var TRANSIENT = [
  "Network connection lost",
  "storage caused object to be reset",
  "reset because its code was updated",
  "Cannot resolve D1 DB due to transient issue",
  "client disconnected"
];
var TURNED_AWAY = /\bis overloaded\b|\btoo much load\b/i;
var NO_METHOD = "does not implement the method";
var REFUSED = /SQL statement|SQL query|SQL code|state\.storage\.transaction|D1_TYPE_ERROR|exceeded D1's/;
var FOREIGN_KEY_GUARD = /bad JSON path: '(FOREIGN KEY constraint failed: .*)'/;
function sqlFailure(error, effect, step) {
  const message = messageOf(error).replace(/^(?:D1_ERROR: |Error: )+/, "");
  return { kind: "sql", message, effect, ...step === void 0 ? {} : { step } };
}
__name(sqlFailure, "sqlFailure");
function objectFailure(error, effect) {
  const message = messageOf(error);
  const nothingRan = effect === "ended" ? effect : "none";
  if (message.includes(NO_METHOD)) return { kind: "retry", message, effect: nothingRan };
  if (wasReset(error) || isFatal(error)) return { kind: "reset", message, effect };
  if (hasFlag(error, "overloaded"))
    return { kind: "overloaded", message, effect: TURNED_AWAY.test(message) ? nothingRan : effect };
  if (hasFlag(error, "retryable") || isTransient(message)) return { kind: "retry", message, effect };
  return { kind: "internal", message, effect };
}
__name(objectFailure, "objectFailure");
function isFatal(error) {
  return messageOf(error).startsWith("internal error");
}
__name(isFatal, "isFatal");
function d1Failure(error, step) {
  const [, dangling] = FOREIGN_KEY_GUARD.exec(messageOf(error)) ?? [];
  if (dangling !== void 0) return { kind: "foreign_key", message: dangling, effect: "none" };
  const kind = d1Kind(error);
  if (kind === "sql") return sqlFailure(error, "none", step);
  const { message } = sqlFailure(error, "none");
  return { kind, message, effect: kind === "overloaded" && TURNED_AWAY.test(message) ? "none" : "unknown" };
}
__name(d1Failure, "d1Failure");
function d1Kind(error) {
  const message = messageOf(error);
  if (/\bSQLITE_[A-Z]+/.test(message)) return "sql";
  if (isTransient(message)) return "retry";
  if ((/overloaded/i.test(message) || TURNED_AWAY.test(message)) && !wasReset(error)) return "overloaded";
  return REFUSED.test(message) ? "sql" : "internal";
}
__name(d1Kind, "d1Kind");
function wasReset(error) {
  return hasFlag(error, "durableObjectReset") || /\breset\b/i.test(messageOf(error));
}
__name(wasReset, "wasReset");
function isTransient(message) {
  return TRANSIENT.some((text) => message.includes(text));
}
__name(isTransient, "isTransient");
function messageOf(error) {
  return error instanceof Error ? error.message : "the runtime threw something other than an error";
}
__name(messageOf, "messageOf");
function hasFlag(error, flag) {
  return error instanceof Error && flag in error && Reflect.get(error, flag) === true;
}
__name(hasFlag, "hasFlag");

// values.ts
function encodeValue(value) {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "number") return encodeNumber(value);
  const bytes = Array.isArray(value) ? Uint8Array.from(value) : new Uint8Array(value);
  return { b: bytes.toBase64() };
}
__name(encodeValue, "encodeValue");
function encodeNumber(value) {
  if (value === Infinity) return { f: "inf" };
  if (value === -Infinity) return { f: "-inf" };
  return value;
}
__name(encodeNumber, "encodeNumber");
function byteLength(text) {
  let bytes = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 128) continue;
    bytes += unit < 2048 || unit >= 55296 && unit < 57344 ? 1 : 2;
  }
  return bytes;
}
__name(byteLength, "byteLength");

// statement.ts
var WIDE = /[\u0100-\uffff]/;
var Results = class {
  static {
    __name(this, "Results");
  }
  texts = [];
  #byRpc;
  #bytes = 0;
  /** The size of the texts on the way from an object to the Worker. */
  #rpcBytes = 0;
  constructor({ byRpc } = { byRpc: true }) {
    this.#byRpc = byRpc;
  }
  /** Writes one result, row by row. Throws `WorkFailed` as soon as the answer is too large. */
  add({ columns, rows, figures }, effect) {
    const head = `{"columns":${JSON.stringify(columns)},"rows":[`;
    const step = this.texts.length;
    let bytes = this.#bytes + byteLength(head);
    const written = [];
    for (const row of rows) {
      if (bytes > MAX_ANSWER_BYTES) continue;
      const text2 = JSON.stringify(row.map(encodeValue));
      bytes += byteLength(text2) + 1;
      written.push(text2);
    }
    if (bytes > MAX_ANSWER_BYTES) throw new WorkFailed(tooLarge(effect, step));
    const tail = figures === null ? "}" : `,${JSON.stringify(figures()).slice(1)}`;
    const text = `${head}${written.join(",")}]${tail}`;
    const rpcBytes = this.#rpcBytes + (WIDE.test(text) ? 2 * text.length : text.length);
    if (this.#byRpc && rpcBytes > MAX_ANSWER_BYTES) throw new WorkFailed(tooLarge(effect, step));
    this.texts.push(text);
    this.#bytes = bytes + byteLength(tail);
    this.#rpcBytes = rpcBytes;
  }
  addEmpty() {
    this.texts.push("{}");
  }
};
function tooLarge(effect, step) {
  return { kind: "too_large", message: `the answer is larger than ${MAX_ANSWER_BYTES} bytes`, effect, step };
}
__name(tooLarge, "tooLarge");
var QUERY = /^\s*(?:SELECT|VALUES|WITH)\b[^;]*;?\s*$/i;
var WRITE = /\b(?:INSERT|REPLACE|UPDATE|DELETE)\b/i;
function readsOnly({ sql }) {
  return QUERY.test(sql) && !(/^\s*WITH\b/i.test(sql) && WRITE.test(sql));
}
__name(readsOnly, "readsOnly");
function runStatement(storage, step, results, effect, schema) {
  const index = results.texts.length;
  schema.note(step.sql);
  try {
    if (readsOnly(step)) results.add(execute(storage.sql, step), effect);
    else storage.transactionSync(() => results.add(execute(storage.sql, step), effect));
  } catch (error) {
    if (error instanceof WorkFailed || isFatal(error)) throw error;
    throw new WorkFailed(sqlFailure(error, effect, index));
  }
}
__name(runStatement, "runStatement");
function execute(sql, { sql: text, params, count, meter }) {
  const before = count ? totalChanges(sql) : 0;
  const cursor = sql.exec(text, ...params);
  const figures = /* @__PURE__ */ __name(() => ({
    ...count ? countChanges(sql, before) : {},
    ...meter ? { rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten } : {}
  }), "figures");
  return { columns: cursor.columnNames, rows: cursor.raw(), figures: count || meter ? figures : null };
}
__name(execute, "execute");
function totalChanges(sql) {
  return sql.exec("SELECT total_changes() AS total").one().total;
}
__name(totalChanges, "totalChanges");
function countChanges(sql, before) {
  const counts = "SELECT total_changes() AS total, changes() AS changes, last_insert_rowid() AS id";
  const { total, changes, id } = sql.exec(counts).one();
  return { changes: total === before ? 0 : changes, last_row_id: id };
}
__name(countChanges, "countChanges");
var DEFERS = /^\s*PRAGMA\s+defer_foreign_keys\b/i;
function defersForeignKeys({ sql }) {
  return DEFERS.test(sql);
}
__name(defersForeignKeys, "defersForeignKeys");
function danglingRows(sql, deferred, effect) {
  const [now] = sql.exec("PRAGMA defer_foreign_keys").toArray();
  if (!deferred && !now?.defer_foreign_keys) return null;
  try {
    const message = describe(sql.exec("PRAGMA foreign_key_check").toArray());
    return message === null ? null : { kind: "foreign_key", message, effect };
  } catch (error) {
    if (isFatal(error)) throw error;
    return sqlFailure(error, effect);
  }
}
__name(danglingRows, "danglingRows");
function describe(rows) {
  if (rows.length === 0) return null;
  const shown = rows.slice(0, 5).map(({ table, rowid, parent }) => `${table} row ${rowid ?? "?"} -> ${parent}`);
  const more = rows.length > shown.length ? ` and ${rows.length - shown.length} more` : "";
  return `FOREIGN KEY constraint failed: ${shown.join(", ")}${more}`;
}
__name(describe, "describe");

// d1.ts
var READS = /^\s*(?:SELECT|VALUES)\b[^;]*;?\s*$/i;
var ROWLESS = /^\s*(?:INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|EXPLAIN|REINDEX|ANALYZE)\b/i;
var RETURNS = /\bRETURNING\b/i;
var SEVERAL = /;\s*\S/;
var FOREIGN_KEY_GUARD2 = `SELECT json_extract('{}', 'FOREIGN KEY constraint failed: ' || group_concat("table" || ' row ' || coalesce(rowid, '?') || ' -> ' || parent, ', ')) FROM (SELECT * FROM pragma_foreign_key_check LIMIT 5) HAVING count(*) > 0`;
var COUNTS = "SELECT changes() AS changes, last_insert_rowid() AS last_row_id";
async function runOnD1(database, steps, known) {
  const results = new Results({ byRpc: false });
  try {
    for (const result of await run(database, steps, known)) results.add(result, "unknown");
    return { results: results.texts };
  } catch (error) {
    if (error instanceof WorkFailed) return { results: [], error: error.failure };
    return { results: [], error: d1Failure(error, steps.length === 1 ? 0 : void 0) };
  }
}
__name(runOnD1, "runOnD1");
async function sizeOfD1(database) {
  const { meta } = await database.prepare("SELECT 1").run();
  return meta.size_after;
}
__name(sizeOfD1, "sizeOfD1");
function costOnD1(steps) {
  if (readsAlone(steps)) return { subrequests: steps.length, queries: steps.length };
  const added = steps.map(({ sql, count }) => 1 + Number(canBeExplained(sql)) + Number(count));
  const guard = Number(steps.some(defersForeignKeys));
  return { subrequests: 1, queries: added.reduce((sum, queries) => sum + queries, guard) };
}
__name(costOnD1, "costOnD1");
async function run(database, steps, known) {
  if (steps.length === 0) return [];
  if (readsAlone(steps)) {
    return Promise.all(steps.map((step, index) => runAlone(database, step, index, known)));
  }
  return runBatch(database, steps);
}
__name(run, "run");
function readsAlone(steps) {
  if (steps.some(({ count }) => count)) return false;
  return steps.length === 1 || steps.every(({ sql }) => READS.test(sql));
}
__name(readsAlone, "readsAlone");
async function runAlone(database, { sql, params, meter }, index, known) {
  try {
    const statement = database.prepare(sql).bind(...params);
    const expected = meter ? known.of(database, sql) : void 0;
    const metered = expected === void 0 ? null : await runMetered(statement, expected);
    if (metered !== null) return metered;
    const [columns = [], ...rows] = await statement.raw({ columnNames: true });
    if (meter && READS.test(sql)) known.note(database, sql, columns);
    return { columns, rows, figures: null };
  } catch (error) {
    throw new WorkFailed(d1Failure(error, index));
  }
}
__name(runAlone, "runAlone");
async function runMetered(statement, columns) {
  const { results, meta } = await statement.all();
  if (!haveColumns(results, columns)) return null;
  return { columns, rows: inOrder(results, columns), figures: /* @__PURE__ */ __name(() => usageOf([meta]), "figures") };
}
__name(runMetered, "runMetered");
async function runBatch(database, steps) {
  const statements = [];
  const add = /* @__PURE__ */ __name((sql, params) => statements.push(database.prepare(sql).bind(...params)) - 1, "add");
  const placed = steps.map((step) => {
    const { sql, params } = step;
    const explanation = canBeExplained(sql) ? add(
      `EXPLAIN ${sql}`,
      params.map(() => "")
    ) : null;
    return { step, explanation, result: add(sql, params), counts: step.count ? add(COUNTS, []) : null };
  });
  if (steps.some(defersForeignKeys)) add(FOREIGN_KEY_GUARD2, []);
  const answers = await database.batch(statements);
  return placed.map((place, index) => readObjects(answers, place, index));
}
__name(runBatch, "runBatch");
function canBeExplained(sql) {
  return !SEVERAL.test(sql) && (!ROWLESS.test(sql) || RETURNS.test(sql));
}
__name(canBeExplained, "canBeExplained");
function readObjects(answers, { step, result, explanation, counts }, index) {
  const own = [result, explanation, counts].flatMap((place) => answers[place ?? -1]?.meta ?? []);
  const answer = answers[result];
  if (answer === void 0) throw new Error("internal error: D1 answered fewer statements than it was sent");
  const { results, meta } = answer;
  const columns = Object.keys(results[0] ?? {});
  const unexplained = SEVERAL.test(step.sql) ? null : columns.length;
  const width = explanation === null ? unexplained : columnCount(answers[explanation]?.results ?? []);
  if (results.length > 0 && !trustworthy(columns, width)) throw ambiguous(index);
  const figures = /* @__PURE__ */ __name(() => ({
    ...counts === null ? {} : readCounts(answers[counts], meta.changes),
    ...step.meter ? usageOf(own) : {}
  }), "figures");
  const asked = counts !== null || step.meter;
  return { columns, rows: inOrder(results, columns), figures: asked ? figures : null };
}
__name(readObjects, "readObjects");
function inOrder(rows, columns) {
  return rows.map((row) => columns.map((column) => row[column] ?? null));
}
__name(inOrder, "inOrder");
function usageOf(metas) {
  const sum = /* @__PURE__ */ __name((numbers) => numbers.reduce((total, number) => total + number, 0), "sum");
  return {
    rows_read: sum(metas.map((meta) => meta.rows_read)),
    rows_written: sum(metas.map((meta) => meta.rows_written))
  };
}
__name(usageOf, "usageOf");
function readCounts(answer, changed) {
  const [row] = answer?.results ?? [];
  return { changes: changed === 0 ? 0 : Number(row?.["changes"]), last_row_id: Number(row?.["last_row_id"]) };
}
__name(readCounts, "readCounts");
function columnCount(plan) {
  const widths = plan.filter(({ opcode }) => opcode === "ResultRow").map(({ p2 }) => Number(p2));
  return Math.max(0, ...widths);
}
__name(columnCount, "columnCount");
function trustworthy(columns, width) {
  return columns.length === width && keepTheirOrder(columns);
}
__name(trustworthy, "trustworthy");
function ambiguous(step) {
  const message = "the batch was run, but D1 merges or reorders the columns of this step. Give each a name of its own with AS";
  return new WorkFailed({ kind: "unsupported", message, effect: "unknown", step });
}
__name(ambiguous, "ambiguous");

// held-calls.ts
var MAX_AGE_MS = 1e3;
var MAX_WAITING = 2;
var GONE = {
  kind: "reset",
  message: "the session was closed before the batch was run",
  effect: "none"
};
var HeldCall = class {
  static {
    __name(this, "HeldCall");
  }
  #born = Date.now();
  #queue = [];
  #holdMs;
  #onWaiting;
  #current;
  #answered = false;
  #deliver = null;
  #timer = null;
  /** Whether it accepts more batches. */
  open = true;
  constructor(first, holdMs, onWaiting) {
    this.#current = first;
    this.#holdMs = holdMs;
    this.#onWaiting = onWaiting;
  }
  /** Whether the object only waits. */
  get waiting() {
    return this.#deliver !== null;
  }
  /** Serves until the call ends or breaks; returns the work that was never handed over. */
  async run(serve) {
    try {
      if (this.#current !== null) await serve(this.#current.call, (answer) => this.#next(answer));
    } catch (error) {
      this.#current?.reply({ results: [], error: this.#failure(error) });
    }
    this.end();
    return this.#queue.splice(0);
  }
  /** Whether work waits for the call to hand it over, or to give it back when it ends. */
  get hasQueue() {
    return this.#queue.length > 0;
  }
  add(work) {
    this.#queue.push(work);
    this.#hand();
  }
  /** Accepts no more batches, and releases the object as soon as it has answered. */
  end() {
    this.open = false;
    this.#hand();
  }
  #next(answer) {
    this.#current?.reply(answer);
    this.#current = null;
    this.#answered = true;
    if (Date.now() - this.#born >= MAX_AGE_MS) this.open = false;
    return new Promise((resolve) => {
      this.#deliver = resolve;
      this.#hand();
      if (!this.waiting) return;
      this.#timer = setTimeout(() => this.end(), this.#holdMs);
      this.#onWaiting(this);
    });
  }
  /** Gives a waiting object the next batch, or the end. */
  #hand() {
    if (this.#deliver === null) return;
    const work = this.open ? this.#queue.shift() : null;
    if (work === void 0) return;
    clearTimeout(this.#timer);
    this.#current = work;
    this.#deliver(work?.call ?? null);
    this.#deliver = null;
  }
  #failure(error) {
    const failure = objectFailure(error, "unknown");
    return this.#answered ? { ...failure, effect: "unknown" } : failure;
  }
};
var HeldCalls = class {
  static {
    __name(this, "HeldCalls");
  }
  #serve;
  #holdMs;
  #byName = /* @__PURE__ */ new Map();
  #waiting = [];
  #closed = false;
  /** `holdMs`: how long an object waits for a batch; the wait is billed. */
  constructor(serve, holdMs) {
    this.#serve = serve;
    this.#holdMs = holdMs;
  }
  /** Runs a batch on its object, after those of this session that came before it. */
  batch(call) {
    return new Promise((reply) => this.#add({ call, reply }));
  }
  /** Releases the objects. What was not handed over is not run. */
  close() {
    this.#closed = true;
    for (const held of this.#byName.values()) held.end();
    this.#byName.clear();
    this.#waiting = [];
  }
  #add(work) {
    const held = this.#byName.get(work.call.name);
    if (this.#closed) work.reply({ results: [], error: GONE });
    else if (held?.open || held?.hasQueue) held.add(work);
    else void this.#call(work);
  }
  async #call(first) {
    const { name } = first.call;
    const held = new HeldCall(first, this.#holdMs, (waiting) => this.#limitWaiting(waiting));
    this.#byName.set(name, held);
    const left = await held.run(this.#serve);
    if (this.#byName.get(name) === held) this.#byName.delete(name);
    this.#waiting = this.#waiting.filter((other) => other !== held);
    for (const work of left) this.#add(work);
  }
  /** Ends the calls that have waited longest if too many wait. */
  #limitWaiting(held) {
    const others = this.#waiting.filter((other) => other !== held && other.waiting);
    this.#waiting = [...others, held];
    for (const longest of this.#waiting.slice(0, -MAX_WAITING)) longest.end();
  }
};

// relayed-transaction.ts
var NO_TRANSACTION = {
  kind: "no_transaction",
  message: "the transaction does not exist, or has ended",
  effect: "none"
};
var LEASE_EXPIRED = {
  kind: "lease_expired",
  message: "the transaction held its object longer than its lease and was rolled back",
  effect: "ended"
};
var CONNECTION_LOST = {
  kind: "reset",
  message: "the connection to the object was lost, and the transaction was rolled back",
  effect: "ended"
};
function failed(error) {
  return { results: [], error };
}
__name(failed, "failed");
var RelayedTransaction = class {
  static {
    __name(this, "RelayedTransaction");
  }
  /** The database that the transaction was begun on, as `kind:name`. */
  database;
  /** The answer to a request that comes after the end. */
  #ended = null;
  #reply;
  #waiting = [];
  #current;
  #deliver = null;
  #closed = false;
  constructor(begin, reply) {
    this.database = `${begin.database.kind}:${begin.database.name}`;
    this.#reply = reply;
    this.#current = begin;
  }
  /** Carries the transaction to its end. */
  async run(begin, transact) {
    try {
      const outcome = await transact(begin, (answer) => this.#next(answer));
      if (outcome.end === "lease") this.#finish(LEASE_EXPIRED);
      else if (outcome.end === "gone") this.#finish(CONNECTION_LOST);
      else this.#finish(NO_TRANSACTION, outcome.answer);
    } catch (error) {
      const commits = this.#current?.steps.at(-1)?.type === "commit";
      const failure = objectFailure(error, commits ? "unknown" : "ended");
      if (commits && this.#current !== begin) failure.effect = "unknown";
      if (commits) this.#finish(NO_TRANSACTION, failed(failure));
      else this.#finish(failure);
    }
  }
  /** Takes a further request of the transaction, to run after the earlier ones. */
  send(request) {
    if (this.#ended !== null) {
      this.#reply(request, failed(this.#ended));
    } else if (this.#deliver !== null) {
      this.#hand(request);
    } else {
      this.#waiting.push(request);
    }
  }
  /** The client is gone: the object rolls back as soon as it pulls again. */
  close() {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#deliver?.(null);
    this.#deliver = null;
  }
  #next(answer) {
    if (this.#current !== null) this.#reply(this.#current, answer);
    this.#current = null;
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#deliver = resolve;
      const request = this.#waiting.shift();
      if (request !== void 0) this.#hand(request);
    });
  }
  #hand(request) {
    this.#current = request;
    this.#deliver?.(request.steps);
    this.#deliver = null;
  }
  #finish(ended, answer = failed(ended)) {
    this.#ended = ended;
    if (this.#current !== null) this.#reply(this.#current, answer);
    this.#current = null;
    for (const request of this.#waiting.splice(0)) this.#reply(request, failed(ended));
    this.#deliver?.(null);
    this.#deliver = null;
  }
};

// session.ts
var CLOSED_AFTER = 1.1;
var MAX_UNANSWERED = 250;
var MAX_UNANSWERED_CHARACTERS = 2 * MAX_REQUEST_BYTES;
var TOO_MANY_UNANSWERED = "too many requests of this session, or too large ones, wait for their answers";
var DOORKEEPER = "_access";
var CPU_OF_MESSAGE = 0.4;
var CPU_OF_CHARACTER = 67e-7;
var LONGEST_TIMER_MS = 2 ** 31 - 1;
var Session = class {
  static {
    __name(this, "Session");
  }
  #socket;
  #env;
  #limits;
  #token;
  #calls;
  #transactions = /* @__PURE__ */ new Map();
  #opened = Date.now();
  #columns = new KnownColumns();
  /** The requests that wait for their answers, each with the characters of its frame. */
  #unanswered = /* @__PURE__ */ new Map();
  #unansweredCharacters = 0;
  /** One for all transactions: a function made in `#begin` would keep that transaction's first steps in memory. */
  #answer = /* @__PURE__ */ __name((request, answer) => {
    this.#unansweredCharacters -= this.#unanswered.get(request) ?? 0;
    this.#unanswered.delete(request);
    this.#reply(request.id, answer);
  }, "#answer");
  #subrequests = 0;
  #d1Queries = 0;
  #cpuMs = 0;
  /** Whether the token was valid at the last comparison. */
  #welcome = Promise.resolve(true);
  #compared = Date.now();
  /** How many requests are not answered yet; an open transaction is one. */
  #inHand = 0;
  #timer = null;
  /** `token` is the digest of the token that opened the session. */
  constructor(socket, env, limits, token) {
    this.#socket = socket;
    this.#env = env;
    this.#limits = limits;
    this.#token = token;
    const serve = /* @__PURE__ */ __name(async (first, next) => this.#object(first.name).serve(first, next), "serve");
    this.#calls = new HeldCalls(serve, limits.holdMs);
  }
  /** Serves the socket until it closes, and then rolls back what is still open. */
  start() {
    this.#socket.accept();
    this.#socket.addEventListener("message", ({ data }) => {
      void this.#receive(data);
    });
    this.#socket.addEventListener("close", () => this.#close());
    this.#socket.addEventListener("error", () => this.#close());
    const lifetime = Math.min(this.#limits.seconds * 1e3 * CLOSED_AFTER, LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#retire(), lifetime);
  }
  async #receive(data) {
    let request;
    try {
      request = readFrame(data);
    } catch (error) {
      this.#count(data);
      const { id, kind, message } = error instanceof ProtocolError ? error : new ProtocolError("the frame cannot be read", null, "internal");
      this.#reply(id, failed2(kind, message));
      return;
    }
    const { length } = String(data);
    if (!this.#hasRoomFor(length)) {
      this.#count(data);
      this.#reply(request.id, failed2("overloaded", TOO_MANY_UNANSWERED));
      return;
    }
    this.#unanswered.set(request, length);
    this.#unansweredCharacters += length;
    this.#inHand += 1;
    try {
      if (await this.#isWelcome()) await this.#serve(request);
      else this.#dismiss(request);
    } catch (error) {
      this.#answer(request, { results: [], error: objectFailure(error, "unknown") });
    }
    this.#count(data);
    this.#inHand -= 1;
    this.#retire();
  }
  async #serve(request) {
    const refusal = request.op === "ping" ? null : scopeRefusal(this.#limits.scope, request.database);
    if (refusal !== null) this.#answer(request, failed2("forbidden", refusal));
    else if (request.op === "ping") this.#answer(request, { results: [] });
    else if (request.op === "tx") await this.#transaction(request);
    else if (request.op === "outcome") this.#answer(request, await this.#outcome(request));
    else if (request.op === "erase") this.#answer(request, await this.#erase(request));
    else if (request.op === "size") this.#answer(request, await this.#size(request));
    else this.#answer(request, await this.#batch(request));
  }
  /** Whether the Worker that is deployed now still accepts the session's token. */
  #isWelcome() {
    if (Date.now() - this.#compared >= this.#limits.checkSeconds * 1e3) {
      this.#compared = Date.now();
      this.#welcome = this.#compare();
    }
    return this.#welcome;
  }
  async #compare() {
    this.#subrequests += 1;
    try {
      const access = await this.#object(DOORKEEPER).access(DOORKEEPER, this.#token);
      return access === this.#limits.scope;
    } catch {
      return true;
    }
  }
  /** Refuses a request and closes the session; its open transactions are rolled back. */
  #dismiss(request) {
    const isOpen = request.op === "tx" && !request.begin;
    this.#answer(request, limitReached(isOpen ? "ended" : "none"));
    if (this.#socket.readyState === WebSocket.OPEN)
      this.#socket.close(1008, "the session's token is no longer valid");
    this.#close();
  }
  async #batch({ database, expect, key, again, steps }) {
    if (this.#exhausted()) return limitReached();
    if (database.kind === "do") {
      this.#subrequests += 1;
      return this.#calls.batch({ name: database.name, expect, key, again, steps });
    }
    const binding = this.#binding(database);
    if (binding === null) return failed2("unknown_database", "no D1 database with this id is bound");
    const { subrequests, queries } = costOnD1(steps);
    if (!this.#hasLeftOnD1(queries)) return limitReached();
    this.#subrequests += subrequests;
    this.#d1Queries += queries;
    return runOnD1(binding, steps, this.#columns);
  }
  async #outcome({ database, key }) {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      const outcome = await this.#object(database.name).outcome(database.name, key);
      return { results: [JSON.stringify({ columns: ["outcome"], rows: [[outcome]] })] };
    } catch (error) {
      return { results: [], error: { ...objectFailure(error, "none"), effect: "none" } };
    }
  }
  async #erase({ database: { name } }) {
    if (this.#exhausted()) return limitReached();
    this.#subrequests += 1;
    try {
      const erased = await this.#object(name).erase(name);
      return { results: [JSON.stringify({ columns: ["erased"], rows: [[Number(erased)]] })] };
    } catch (error) {
      return { results: [], error: objectFailure(error, "unknown") };
    }
  }
  async #size({ database }) {
    const isObject = database.kind === "do";
    const binding = isObject ? null : this.#binding(database);
    if (!isObject && binding === null) {
      return failed2("unknown_database", "no D1 database with this id is bound");
    }
    if (this.#exhausted() || !isObject && !this.#hasLeftOnD1(1)) return limitReached();
    this.#subrequests += 1;
    try {
      if (binding !== null) this.#d1Queries += 1;
      const size = await (binding === null ? this.#object(database.name).size(database.name) : sizeOfD1(binding));
      return { results: [JSON.stringify({ columns: ["size"], rows: [[size]] })] };
    } catch (error) {
      const failure = isObject ? objectFailure(error, "none") : d1Failure(error);
      return { results: [], error: { ...failure, effect: "none" } };
    }
  }
  async #transaction(request) {
    const { database, tx, begin } = request;
    const known = this.#transactions.get(tx);
    if (database.kind === "d1") {
      this.#answer(request, failed2("unsupported", "D1 has no interactive transactions"));
    } else if (begin && known !== void 0) {
      this.#answer(request, failed2("bad_request", "this tx name was used before in this session"));
    } else if (begin) {
      await this.#begin(request);
    } else if (known === void 0) {
      this.#answer(request, { results: [], error: NO_TRANSACTION });
    } else if (known.database !== `${database.kind}:${database.name}`) {
      this.#answer(request, failed2("bad_request", "this tx was begun on another database"));
    } else {
      known.send(request);
    }
  }
  async #begin(request) {
    const { tx, database, leaseMs, expect, steps } = request;
    if (this.#exhausted()) {
      this.#answer(request, limitReached());
      return;
    }
    const transaction = new RelayedTransaction(request, this.#answer);
    this.#transactions.set(tx, transaction);
    this.#subrequests += 1;
    await transaction.run(
      request,
      async (_begin, pull) => this.#object(database.name).interact({ name: database.name, leaseMs, expect, steps }, (answer) => {
        this.#subrequests += 1;
        return pull(answer);
      })
    );
  }
  /** A new stub for each call, because one that has seen a connection error stays broken. */
  #object(name) {
    return this.#env.TENANTS.getByName(name);
  }
  #binding({ name }) {
    const names = this.#env.D1_DATABASES;
    if (names === void 0 || !Object.hasOwn(names, name)) return null;
    const binding = Reflect.get(this.#env, names[name] ?? "");
    return binding ?? null;
  }
  #hasRoomFor(characters) {
    return this.#unanswered.size < MAX_UNANSWERED && this.#unansweredCharacters + characters <= MAX_UNANSWERED_CHARACTERS;
  }
  #exhausted() {
    return this.#isOlderThan(this.#limits.seconds) || this.#subrequests >= this.#limits.subrequests || this.#cpuMs >= this.#limits.cpuMs;
  }
  /** Whether this many statements may run; more than the limit are left to D1 itself, in a session of their own. */
  #hasLeftOnD1(queries) {
    return this.#d1Queries <= Math.max(this.#limits.d1Queries - queries, 0);
  }
  #isOlderThan(seconds) {
    return Date.now() - this.#opened >= seconds * 1e3;
  }
  /** Closes a session long after its end, so that no client can keep one forever with pings. */
  #retire() {
    if (this.#inHand > 0 || !this.#isOlderThan(this.#limits.seconds * CLOSED_AFTER)) return;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.close(1001, "the session's time is over");
    this.#close();
  }
  #reply(id, answer) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const frame = answerFrame(id, answer);
    this.#count(frame);
    this.#socket.send(frame);
  }
  /** Counts the CPU of a frame in either direction: of a request after it ran, so that any fits into a new session. */
  #count(frame) {
    this.#cpuMs += CPU_OF_MESSAGE / 2 + (typeof frame === "string" ? frame.length * CPU_OF_CHARACTER : 0);
  }
  #close() {
    clearTimeout(this.#timer);
    for (const transaction of this.#transactions.values()) transaction.close();
    this.#transactions.clear();
    this.#calls.close();
    if (this.#socket.readyState !== WebSocket.CLOSED) this.#socket.close();
  }
};
function readFrame(data) {
  if (typeof data !== "string") throw new ProtocolError("frames must be text");
  if (byteLength(data) > MAX_REQUEST_BYTES) {
    throw new ProtocolError(`a frame may have at most ${MAX_REQUEST_BYTES} bytes`, null, "too_large");
  }
  return parseRequest(data);
}
__name(readFrame, "readFrame");
function failed2(kind, message, effect = "none") {
  return { results: [], error: { kind, message, effect } };
}
__name(failed2, "failed");
function limitReached(effect = "none") {
  const message = "the session has reached its limit of subrequests, CPU or time. Open a new one";
  return failed2("session_limit", message, effect);
}
__name(limitReached, "limitReached");

// tenant.ts
import { DurableObject } from "cloudflare:workers";

// interactive.ts
var Undo = class extends Error {
  static {
    __name(this, "Undo");
  }
  unwind;
  constructor(unwind) {
    super("undo");
    this.unwind = unwind;
  }
};
var MAX_SAVEPOINTS = 60;
var InteractiveTransaction = class {
  static {
    __name(this, "InteractiveTransaction");
  }
  #storage;
  #pull;
  #leaseMs;
  #expect;
  #schema;
  #keys;
  #savepoints = [];
  /** The remaining steps of the request, in reverse order: taking the first of many would move all the others. */
  #steps;
  #results = new Results();
  /** The answer to the request in hand, once a step of it has failed. */
  #failed = null;
  #deadline = 0;
  /** Whether foreign keys have been deferred, even for a moment. */
  #deferred = false;
  constructor(storage, { leaseMs, expect, steps }, pull, schema, keys) {
    this.#storage = storage;
    this.#pull = pull;
    this.#leaseMs = leaseMs;
    this.#expect = expect;
    this.#schema = schema;
    this.#keys = keys;
    this.#steps = steps.toReversed();
  }
  /** Runs the transaction to its end. If it throws, the error is the runtime's, and everything is rolled back. */
  async run() {
    const { unwind } = await this.#nested(() => {
      this.#deadline = Date.now() + this.#leaseMs;
      const error = this.#schema.mismatch(this.#expect);
      if (error !== null) {
        return Promise.resolve(end({ end: "rollback", answer: { results: [], error } }, true));
      }
      return this.#runLevel();
    });
    if (unwind.outcome === null) throw new Error("the transaction ended without an outcome");
    return unwind.outcome;
  }
  /** Runs `body` in a transaction of its own, which is rolled back when it asks for that. */
  async #nested(body) {
    try {
      const unwind = await this.#storage.transaction(async () => {
        const result = await body();
        if (result.undo) throw new Undo(result);
        return result;
      });
      return { unwind };
    } catch (error) {
      if (error instanceof Undo) return { unwind: error.unwind };
      throw error;
    }
  }
  /** Runs steps until one of them closes this level. */
  async #runLevel() {
    for (; ; ) {
      const step = await this.#nextStep();
      if (step === "expired") return end({ end: "lease" }, true);
      if (step === null) return end({ end: "gone" }, true);
      const unwind = await this.#take(step);
      if (unwind !== null) return unwind;
    }
  }
  /** Takes one step; an unwinding, when it closes the level that it stands in. A failed step drops the rest of its request. */
  async #take(step) {
    try {
      if (step.type === "statement") {
        this.#deferred ||= defersForeignKeys(step);
        runStatement(this.#storage, step, this.#results, "statement", this.#schema);
        return null;
      }
      if (step.type === "savepoint") return await this.#openSavepoint(step.name);
      return this.#control(step);
    } catch (error) {
      if (!(error instanceof WorkFailed)) throw error;
      const answer = { results: this.#results.texts, error: error.failure };
      if (error.failure.effect === "ended") return end({ end: "rollback", answer }, true);
      this.#failed = answer;
      this.#steps = [];
      return null;
    }
  }
  async #nextStep() {
    let step = this.#steps.pop();
    while (step === void 0) {
      const answer = this.#failed ?? { results: this.#results.texts };
      const steps = await this.#pullWithinLease(answer);
      if (steps === "expired" || steps === null) return steps;
      this.#failed = null;
      this.#results = new Results();
      this.#steps = steps.toReversed();
      step = this.#steps.pop();
    }
    return step;
  }
  async #pullWithinLease(answer) {
    let timer = null;
    const expired = new Promise((resolve) => {
      timer = setTimeout(() => resolve("expired"), Math.min(this.#leaseMs, this.#deadline - Date.now()));
    });
    const pulled = this.#pull(answer).catch(() => null);
    try {
      const taken = await Promise.race([pulled, expired]);
      return Date.now() < this.#deadline ? taken : "expired";
    } finally {
      clearTimeout(timer);
    }
  }
  async #openSavepoint(name) {
    if (this.#savepoints.length >= MAX_SAVEPOINTS) {
      const message = `savepoints can nest at most ${MAX_SAVEPOINTS} deep`;
      throw new WorkFailed({
        kind: "unsupported",
        message,
        effect: "statement",
        step: this.#results.texts.length
      });
    }
    const level = this.#savepoints.push(name);
    this.#results.addEmpty();
    for (; ; ) {
      const { unwind } = await this.#nested(() => this.#runLevel());
      if (unwind.level === level && unwind.reopen) {
        this.#savepoints.length = level;
        continue;
      }
      this.#savepoints.length = level - 1;
      return unwind.level === level ? null : unwind;
    }
  }
  #control(step) {
    if ("name" in step) return this.#closeSavepoint(step);
    if (step.type === "commit") return this.#commit(step);
    this.#results.addEmpty();
    return end({ end: "rollback", answer: { results: this.#results.texts } }, true);
  }
  #closeSavepoint(step) {
    const level = this.#levelOf(step.name);
    this.#results.addEmpty();
    const undo = step.type === "rollback_to";
    return { level, undo, reopen: undo, outcome: null };
  }
  #commit({ key }) {
    const failure = danglingRows(this.#storage.sql, this.#deferred, "ended");
    if (failure !== null) throw new WorkFailed({ ...failure, step: this.#results.texts.length });
    if (key !== void 0) this.#keepKey(key);
    this.#results.addEmpty();
    return end({ end: "commit", answer: { results: this.#results.texts } }, false);
  }
  /** Writes the commit's key; a key that was given up, or used before, ends the transaction. */
  #keepKey(key) {
    const known = this.#keys.recall(key);
    if ("results" in known) {
      const message = "the commit's key was given up or used before, so the transaction is rolled back";
      throw new WorkFailed({ kind: "stale_key", message, effect: "ended", step: this.#results.texts.length });
    }
    this.#keys.keep(known, null);
  }
  #levelOf(name) {
    const index = this.#savepoints.lastIndexOf(name);
    if (index >= 0) return index + 1;
    const step = this.#results.texts.length;
    throw new WorkFailed({
      kind: "sql",
      message: `no such savepoint: ${name}: SQLITE_ERROR`,
      effect: "statement",
      step
    });
  }
};
function end(outcome, undo) {
  return { level: 0, undo, reopen: false, outcome };
}
__name(end, "end");

// keys.ts
var MAX_KEPT = 256 * 1024;
var KEPT_MS = 24 * 60 * 60 * 1e3;
var NOT_KEPT = "-";
var CREATE = "CREATE TABLE IF NOT EXISTS _do_bridge_keys (client TEXT PRIMARY KEY, n INTEGER NOT NULL, answer TEXT, at INTEGER NOT NULL) WITHOUT ROWID";
var FIND = "SELECT n, answer FROM _do_bridge_keys WHERE client = ?";
var PUT = "INSERT INTO _do_bridge_keys (client, n, answer, at) VALUES (?, ?, ?, ?) ON CONFLICT (client) DO UPDATE SET n = excluded.n, answer = excluded.answer, at = excluded.at";
var FORGET = "DELETE FROM _do_bridge_keys WHERE at < ?";
var STALE = {
  kind: "stale_key",
  message: "the client has gone on to a later key, so this request does not run",
  effect: "unknown"
};
var GIVEN_UP = {
  kind: "stale_key",
  message: "the key was given up when its outcome was looked up, so its work has not run and never will",
  effect: "none"
};
var ANSWER_LOST = {
  kind: "answer_lost",
  message: "the write was carried out once, and its answer was too large to be kept",
  effect: "done"
};
var WriteKeys = class {
  static {
    __name(this, "WriteKeys");
  }
  #sql;
  constructor(sql) {
    this.#sql = sql;
  }
  /** The answer to a request that must not run (again); otherwise the value that `keep` needs. */
  recall(key) {
    const entry = this.#find(key);
    if (entry === null) return { key, isNewClient: true };
    if (entry.n < key.n) return { key, isNewClient: false };
    if (entry.n > key.n) return { results: [], error: STALE };
    if (entry.answer === null) return { results: [], error: GIVEN_UP };
    if (entry.answer === NOT_KEPT) return { results: [], error: ANSWER_LOST };
    return { results: entry.answer === "" ? [] : entry.answer.split("\n") };
  }
  /**
   * Writes the key of work that is about to be committed; throws `WorkFailed` if that is impossible.
   * `results` are null for the commit of a transaction, which has no answer to keep.
   */
  keep({ key, isNewClient }, results) {
    const answer = results?.join("\n") ?? NOT_KEPT;
    try {
      this.#put(key, answer.length > MAX_KEPT ? NOT_KEPT : answer, isNewClient);
    } catch (error) {
      if (isFatal(error)) throw error;
      throw new WorkFailed(sqlFailure(error, results === null ? "ended" : "none"));
    }
  }
  /** Returns what became of a key's work. If it was not done it never will be: a late request is refused. */
  outcome(key) {
    const entry = this.#find(key);
    if (entry === null || entry.n < key.n) {
      this.#put(key, null, entry === null);
      return "none";
    }
    if (entry.n > key.n) return "unknown";
    return entry.answer === null ? "none" : "done";
  }
  #put({ client, n }, answer, isNewClient) {
    const now = Date.now();
    try {
      if (isNewClient) this.#sql.exec(FORGET, now - KEPT_MS);
      this.#sql.exec(PUT, client, n, answer, now);
    } catch (error) {
      if (!isMissing(error)) throw error;
      this.#sql.exec(CREATE);
      this.#sql.exec(PUT, client, n, answer, now);
    }
  }
  #find({ client }) {
    try {
      return this.#sql.exec(FIND, client).toArray()[0] ?? null;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
};
function isMissing(error) {
  return error instanceof Error && error.message.includes("no such table: _do_bridge_keys");
}
__name(isMissing, "isMissing");

// schema.ts
var MAY_CHANGE = /_do_bridge_meta|\b(?:create|drop|alter)\b/i;
var TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_do_bridge_meta'";
var READ = "SELECT value FROM _do_bridge_meta WHERE key = 'schema'";
var SchemaMark = class {
  static {
    __name(this, "SchemaMark");
  }
  #sql;
  #known = null;
  constructor(sql) {
    this.#sql = sql;
  }
  /** The failure of a request that expects another schema; nothing has run. */
  mismatch(expected) {
    if (expected === void 0) return null;
    this.#known ??= this.#read();
    if (this.#known === expected) return null;
    const message = "the object has another schema than the request expects";
    return { kind: "schema_mismatch", message, effect: "none", found: this.#known };
  }
  /** Checks a statement that is about to run, whether it will be committed or not. */
  note(sql) {
    if (MAY_CHANGE.test(sql)) this.#known = null;
  }
  #read() {
    if (this.#sql.exec(TABLE).toArray().length === 0) return "";
    const [row] = this.#sql.exec(READ).toArray();
    return typeof row?.value === "string" ? row.value : "";
  }
};

// tenant.ts
var ANY_TABLE = "SELECT 1 FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' AND name NOT GLOB 'sqlite_*' LIMIT 1";
var Tenant = class extends DurableObject {
  static {
    __name(this, "Tenant");
  }
  #schema = new SchemaMark(this.ctx.storage.sql);
  #keys = new WriteKeys(this.ctx.storage.sql);
  /** Runs the steps as one atomic unit; a write with a key runs once, however often it is sent. */
  batch({ name, expect, key, again, steps }) {
    this.#checkName(name);
    const known = key && this.#keys.recall(key);
    if (known !== void 0 && "results" in known) return known;
    const answer = this.#batch(expect, steps, known);
    if (again && key && answer.error !== void 0) this.#keys.outcome(key);
    return answer;
  }
  #batch(expect, steps, running) {
    const mismatch = this.#schema.mismatch(expect);
    if (mismatch !== null) return { results: [], error: mismatch };
    const results = new Results();
    try {
      if (running === void 0 && steps.every(readsOnly)) this.#run(steps, results);
      else this.#commit(steps, results, running);
    } catch (error) {
      if (error instanceof WorkFailed) return { results: [], error: error.failure };
      throw error;
    }
    return { results: results.texts };
  }
  #commit(steps, results, running) {
    const { storage } = this.ctx;
    storage.transactionSync(() => {
      this.#run(steps, results);
      const failure = danglingRows(storage.sql, steps.some(defersForeignKeys), "none");
      if (failure !== null) throw new WorkFailed(failure);
      if (running) this.#keys.keep(running, results.texts);
    });
  }
  #run(steps, results) {
    for (const step of steps) runStatement(this.ctx.storage, step, results, "none", this.#schema);
  }
  /** Runs batches, each atomic by itself, as long as `next` brings more. */
  async serve(first, next) {
    let call = first;
    while (call !== null) call = await next(this.batch(call));
  }
  /**
   * What the token of this digest opens now: an object runs the code and the secrets that were deployed last,
   * an open session those with which it began.
   */
  access(name, shown) {
    this.#checkName(name);
    return accessOf(shown, this.env);
  }
  /** What became of the write, or the transaction, with this key; final, as in `WriteKeys`. */
  outcome(name, key) {
    this.#checkName(name);
    return this.#keys.outcome(key);
  }
  /**
   * Releases the object's storage, which is billed, unless a table or view exists; returns whether it did.
   *
   * An object without tables keeps a page otherwise, forever. The runtime deletes all or nothing, at once.
   */
  async erase(name) {
    this.#checkName(name);
    const { storage } = this.ctx;
    if (storage.sql.exec(ANY_TABLE).toArray().length > 0) return false;
    await storage.deleteAll();
    return true;
  }
  /** The bytes that the database takes on disk. */
  size(name) {
    this.#checkName(name);
    return this.ctx.storage.sql.databaseSize;
  }
  /**
   * Holds a transaction open and runs what `pull` brings, until it is ended or its lease expires.
   *
   * It was called `transact` before commits had keys. An object that still runs that code would commit without a key,
   * and later report that nothing was committed. It lacks the new method, so the transaction is begun again.
   */
  async interact(call, pull) {
    this.#checkName(call.name);
    return new InteractiveTransaction(this.ctx.storage, call, pull, this.#schema, this.#keys).run();
  }
  #checkName(name) {
    if (this.ctx.id.name !== name) throw new Error("this object was called with another object's name");
  }
};

// index.ts
var DEFAULT_SESSION_SUBREQUESTS = 9e3;
var DEFAULT_SESSION_D1_QUERIES = 900;
var DEFAULT_SESSION_CPU_MS = 3e4;
var DEFAULT_SESSION_SECONDS = 3600;
var DEFAULT_SESSION_CHECK_SECONDS = 60;
var DEFAULT_CALL_HOLD_MS = 50;
var index_default = {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return health(env);
    const shown = await shownToken(request);
    const access = await accessOf(shown, env);
    if (access === "unconfigured")
      return refuse(503, "the Worker has no RELAY_TOKEN secret of 32 characters or more");
    if (access === "denied" || shown === null)
      return refuse(401, "a valid bearer token is required", { "www-authenticate": "Bearer" });
    if (pathname !== "/v1/session") return refuse(404, "no such path");
    return openSession(request, env, access, shown);
  }
};
function health(env) {
  if (isSecret(env.RELAY_TOKEN)) return Response.json({ ok: true, version: env.RELAY_VERSION });
  return Response.json({ ok: false, missing: ["RELAY_TOKEN"] }, { status: 503 });
}
__name(health, "health");
function openSession(request, env, scope, shown) {
  if (request.headers.get("Upgrade")?.toLowerCase() !== "websocket") {
    return refuse(426, "this path needs a WebSocket", { upgrade: "websocket" });
  }
  const offered = request.headers.get("Sec-WebSocket-Protocol") ?? "";
  if (!offered.split(",").some((name) => name.trim() === SUBPROTOCOL)) {
    return refuse(400, `the subprotocol must be ${SUBPROTOCOL}`);
  }
  const { 0: client, 1: server } = new WebSocketPair();
  const limits = sessionLimits(env, scope);
  new Session(server, env, limits, shown).start();
  const headers = {
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
    "do-bridge-session-limit": String(limits.subrequests),
    "do-bridge-keys": "1",
    "do-bridge-session-seconds": String(limits.seconds),
    "do-bridge-max-message": String(MAX_REQUEST_BYTES)
  };
  return new Response(null, { status: 101, webSocket: client, headers });
}
__name(openSession, "openSession");
function sessionLimits(env, scope) {
  return {
    scope,
    subrequests: positive(env.SESSION_SUBREQUESTS, DEFAULT_SESSION_SUBREQUESTS),
    d1Queries: positive(env.SESSION_D1_QUERIES, DEFAULT_SESSION_D1_QUERIES),
    cpuMs: positive(env.SESSION_CPU_MS, DEFAULT_SESSION_CPU_MS),
    seconds: positive(env.SESSION_MAX_SECONDS, DEFAULT_SESSION_SECONDS),
    checkSeconds: positive(env.SESSION_CHECK_SECONDS, DEFAULT_SESSION_CHECK_SECONDS),
    // Zero is a valid value: every call ends with its answer.
    holdMs: Number(env.CALL_HOLD_MS) === 0 ? 0 : positive(env.CALL_HOLD_MS, DEFAULT_CALL_HOLD_MS)
  };
}
__name(sessionLimits, "sessionLimits");
function positive(variable, otherwise) {
  const value = Number(variable);
  return value > 0 ? value : otherwise;
}
__name(positive, "positive");
function refuse(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
__name(refuse, "refuse");
export {
  Tenant,
  index_default as default
};
