// Which schema an object holds: a fingerprint that clients write with their migrations and may expect.

import type { Failure } from "./protocol";

/** Statements after which the fingerprint may be another one; one too many costs a single read. */
const MAY_CHANGE = /_do_bridge_meta|\b(?:create|drop|alter)\b/i;
const TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_do_bridge_meta'";
const READ = "SELECT value FROM _do_bridge_meta WHERE key = 'schema'";

/** Remembers an object's fingerprint between requests, until a statement may have changed it. */
export class SchemaMark {
  readonly #sql: SqlStorage;
  #known: string | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The failure of a request that expects another schema; nothing of it has run. */
  mismatch(expected: string | undefined): Failure | null {
    if (expected === undefined) return null;
    this.#known ??= this.#read();
    if (this.#known === expected) return null;
    const message = "the object's schema is not the one that the request expects";
    return { kind: "schema_mismatch", message, effect: "none", found: this.#known };
  }

  /** Takes note of a statement that is about to run, whether it will be committed or not. */
  note(sql: string): void {
    if (MAY_CHANGE.test(sql)) this.#known = null;
  }

  #read(): string {
    if (this.#sql.exec(TABLE).toArray().length === 0) return "";
    const [row] = this.#sql.exec<{ value: SqlStorageValue }>(READ).toArray();
    return typeof row?.value === "string" ? row.value : "";
  }
}
