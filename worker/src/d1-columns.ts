// The columns that the reads of a session have had: only for known columns does D1 report what a single read cost.

import type { SqlValue } from "./values";

/** A longer text is unlikely to come again. */
const LONGEST = 10_000;
/** A property name that JavaScript moves to the front of its object. */
const INDEX_LIKE = /^(?:0|[1-9][0-9]*)$/;

/** Whether JavaScript keeps columns with these names in order, as properties of a row. */
export function keepTheirOrder(columns: string[]): boolean {
  return columns.length === 1 || !columns.some((column) => INDEX_LIKE.test(column));
}

/**
 * D1's `raw()` keeps columns with the same name apart, but does not report the rows read; `all()` reports them, and
 * merges those columns. So a text is read with `raw()` first, and with `all()` once no columns can be merged.
 */
export class KnownColumns {
  readonly #byDatabase = new WeakMap<D1Database, Map<string, string[]>>();

  /** The columns of this text's rows, if they differ as properties. */
  of(database: D1Database, sql: string): string[] | undefined {
    return this.#byDatabase.get(database)?.get(sql);
  }

  note(database: D1Database, sql: string, columns: string[]): void {
    if (sql.length > LONGEST || !keepTheirOrder(columns) || new Set(columns).size < columns.length) return;
    // A star may mean more columns tomorrow.
    if (columns.length > 1 && sql.includes("*")) return;
    const known = this.#byDatabase.get(database) ?? new Map<string, string[]>();
    this.#byDatabase.set(database, known.set(sql, columns));
  }
}

/** Whether rows have these columns; a column may have been renamed since. */
export function haveColumns([row]: Record<string, SqlValue>[], columns: string[]): boolean {
  if (row === undefined) return true;
  const keys = Object.keys(row);
  return keys.length === columns.length && keys.every((key, index) => key === columns[index]);
}
