// What columns the reads of a session have had: only where they are known does D1 tell what a single read cost.

import type { SqlValue } from "./values";

/** A text longer than this is not likely to come again. */
const LONGEST = 10_000;
/** A property name that JavaScript moves to the front of its object. */
const INDEX_LIKE = /^(?:0|[1-9][0-9]*)$/;

/** Whether JavaScript keeps columns of these names in their order, as properties of a row. */
export function keepTheirOrder(columns: string[]): boolean {
  return columns.length === 1 || !columns.some((column) => INDEX_LIKE.test(column));
}

/**
 * D1's `raw()` tells columns of one name apart, but not the rows read; `all()` tells the rows read, and merges those
 * columns. So a text is read by `raw()` first, and by `all()` once it is known that there is nothing to merge.
 */
export class KnownColumns {
  readonly #byDatabase = new WeakMap<D1Database, Map<string, string[]>>();

  /** The columns of this text's rows, where they can be told apart as properties. */
  of(database: D1Database, sql: string): string[] | undefined {
    return this.#byDatabase.get(database)?.get(sql);
  }

  note(database: D1Database, sql: string, columns: string[]): void {
    if (sql.length > LONGEST || !keepTheirOrder(columns) || new Set(columns).size < columns.length) return;
    // Behind a star there may be more columns tomorrow.
    if (columns.length > 1 && sql.includes("*")) return;
    const known = this.#byDatabase.get(database) ?? new Map<string, string[]>();
    this.#byDatabase.set(database, known.set(sql, columns));
  }
}

/** Whether rows have these columns; a table's column may have got another name since. */
export function haveColumns([row]: Record<string, SqlValue>[], columns: string[]): boolean {
  if (row === undefined) return true;
  const keys = Object.keys(row);
  return keys.length === columns.length && keys.every((key, index) => key === columns[index]);
}
