// The schema of an object: a fingerprint that clients write with their migrations and may expect.

import { readMeta } from "./meta";
import type { Failure } from "./protocol";

/** Statements that may change the fingerprint; a wrong match costs one read. */
const MAY_CHANGE = /_do_bridge_meta|\b(?:create|drop|alter)\b/i;

/** Caches an object's fingerprint between requests, until a statement may have changed it. */
export class SchemaMark {
  readonly #sql: SqlStorage;
  #known: string | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The failure of a request that expects another schema; nothing has run. */
  mismatch(expected: string | undefined): Failure | null {
    if (expected === undefined) return null;
    this.#known ??= readMeta(this.#sql, "schema");
    if (this.#known === expected) return null;
    const message = "the object has another schema than the request expects";
    return { kind: "schema_mismatch", message, effect: "none", found: this.#known };
  }

  /** Checks a statement that is about to run, whether it will be committed or not. */
  note(sql: string): void {
    if (MAY_CHANGE.test(sql)) this.#known = null;
  }

  /** Reads the fingerprint again when it is needed next. */
  forget(): void {
    this.#known = null;
  }
}
