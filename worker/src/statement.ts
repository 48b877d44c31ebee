// Runs one statement on an object's SQLite and writes its result as JSON.

import { WorkFailed, isFatal, sqlFailure } from "./errors";
import { MAX_ANSWER_BYTES, type Effect, type Failure, type Statement } from "./protocol";
import type { SchemaMark } from "./schema";
import { byteLength, encodeValue, type SqlValue } from "./values";

export interface Counts {
  changes: number;
  last_row_id: number;
}

/** The runtime's counters for its bill: rows scanned, and rows and index entries written. */
export interface Usage {
  rows_read: number;
  rows_written: number;
}

export interface StatementResult {
  columns: string[];
  rows: Iterable<SqlValue[]>;
  /** Returns the counters that were requested, once the rows have been read; null if none were. */
  figures: (() => Partial<Counts & Usage>) | null;
}

/** A character that makes the runtime send the whole text with two bytes for each character. */
const WIDE = /[\u0100-\uffff]/;

/** Collects the results of one request, and stops it when they grow too large to send. */
export class Results {
  readonly texts: string[] = [];
  readonly #byRpc: boolean;
  #bytes = 0;
  /** The size of the texts on the way from an object to the Worker. */
  #rpcBytes = 0;

  constructor({ byRpc } = { byRpc: true }) {
    this.#byRpc = byRpc;
  }

  /** Writes one result, row by row. Throws `WorkFailed` as soon as the answer is too large. */
  add({ columns, rows, figures }: StatementResult, effect: Effect): void {
    const head = `{"columns":${JSON.stringify(columns)},"rows":[`;
    const step = this.texts.length;
    let bytes = this.#bytes + byteLength(head);
    const written: string[] = [];
    for (const row of rows) {
      // To the last row: a write cannot be undone before, and a read's cursor locks its table against DROP.
      if (bytes > MAX_ANSWER_BYTES) continue;
      const text = JSON.stringify(row.map(encodeValue));
      bytes += byteLength(text) + 1;
      written.push(text);
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

  addEmpty(): void {
    this.texts.push("{}");
  }
}

function tooLarge(effect: Effect, step: number): Failure {
  return { kind: "too_large", message: `the answer is larger than ${MAX_ANSWER_BYTES} bytes`, effect, step };
}

/** One query; a semicolon anywhere may be followed by a second statement. */
const QUERY = /^\s*(?:SELECT|VALUES|WITH)\b[^;]*;?\s*$/i;
/** What a WITH clause may contain apart from a query. */
const WRITE = /\b(?:INSERT|REPLACE|UPDATE|DELETE)\b/i;

/**
 * Whether a statement certainly leaves nothing to undo.
 *
 * A transaction around it would be a write for the runtime: the answer would wait until its commit is durable.
 */
export function readsOnly({ sql }: Statement): boolean {
  return QUERY.test(sql) && !(/^\s*WITH\b/i.test(sql) && WRITE.test(sql));
}

/**
 * Runs a statement all or nothing and adds its result; an error is thrown as `WorkFailed`.
 *
 * SQLite undoes a single failed statement by itself; the savepoint is for a text of several statements, and for a
 * result that is too large.
 */
export function runStatement(
  storage: DurableObjectStorage,
  step: Statement,
  results: Results,
  effect: Effect,
  schema: SchemaMark,
): void {
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

function execute(sql: SqlStorage, { sql: text, params, count, meter }: Statement): StatementResult {
  const before = count ? totalChanges(sql) : 0;
  const cursor = sql.exec(text, ...params);
  const figures = (): Partial<Counts & Usage> => ({
    ...(count ? countChanges(sql, before) : {}),
    ...(meter ? { rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten } : {}),
  });
  return { columns: cursor.columnNames, rows: cursor.raw(), figures: count || meter ? figures : null };
}

function totalChanges(sql: SqlStorage): number {
  return sql.exec<{ total: number }>("SELECT total_changes() AS total").one().total;
}

function countChanges(sql: SqlStorage, before: number): Counts {
  const counts = "SELECT total_changes() AS total, changes() AS changes, last_insert_rowid() AS id";
  const { total, changes, id } = sql.exec<{ total: number; changes: number; id: number }>(counts).one();
  // changes() keeps the count of an earlier statement if this one was not an INSERT, UPDATE or DELETE.
  return { changes: total === before ? 0 : changes, last_row_id: id };
}

const DEFERS = /^\s*PRAGMA\s+defer_foreign_keys\b/i;

/** Whether a statement starts or ends the deferring of foreign keys. */
export function defersForeignKeys({ sql }: Statement): boolean {
  return DEFERS.test(sql);
}

/**
 * Finds the rows that a unit with deferred foreign keys left pointing at missing rows, before its commit.
 *
 * Committing them would not fail: the runtime would reset the whole object, or, if the keys are no longer
 * deferred by then (`deferred` is true if they have been), keep the rows. A key that references columns without
 * a unique index makes the search itself fail with an error of SQLite.
 */
export function danglingRows(sql: SqlStorage, deferred: boolean, effect: Effect): Failure | null {
  const [now] = sql.exec<{ defer_foreign_keys: number }>("PRAGMA defer_foreign_keys").toArray();
  if (!deferred && !now?.defer_foreign_keys) return null;
  try {
    const message = describe(sql.exec<DanglingRow>("PRAGMA foreign_key_check").toArray());
    return message === null ? null : { kind: "foreign_key", message, effect };
  } catch (error) {
    if (isFatal(error)) throw error;
    return sqlFailure(error, effect);
  }
}

type DanglingRow = { table: string; rowid: number | null; parent: string };

function describe(rows: DanglingRow[]): string | null {
  if (rows.length === 0) return null;
  const shown = rows
    .slice(0, 5)
    .map(({ table, rowid, parent }) => `${table} row ${rowid ?? "?"} -> ${parent}`);
  const more = rows.length > shown.length ? ` and ${rows.length - shown.length} more` : "";
  return `FOREIGN KEY constraint failed: ${shown.join(", ")}${more}`;
}
