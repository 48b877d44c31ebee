// The way to a D1 database for one request: its primary, or a session of D1 that replicas may serve.

import type { D1SessionAnswer } from "./protocol";

/**
 * A relay session serves many visitors, so a session of D1 lives for one request:
 * https://developers.cloudflare.com/d1/worker-api/d1-database/#withsession
 */
export class D1Source {
  readonly database: D1Database;
  readonly queries: Pick<D1Database, "prepare" | "batch">;
  readonly #session: D1DatabaseSession | null;
  #region: string | undefined;
  #isPrimary: boolean | undefined;

  /** `constraint` is `first-primary`, `first-unconstrained` or a bookmark; without one everything is the primary's. */
  constructor(database: D1Database, constraint?: string) {
    this.database = database;
    this.#session = constraint === undefined ? null : database.withSession(constraint);
    this.queries = this.#session ?? database;
  }

  /** Takes down who has served a statement, which only some ways of running it report. */
  note({ served_by_region: region, served_by_primary: isPrimary }: D1Meta): void {
    if (region !== undefined) this.#region = region;
    if (isPrimary !== undefined) this.#isPrimary = isPrimary && this.#isPrimary !== false;
  }

  /** What the answer of a request in a session of D1 reports beside its results. */
  reached(): { session?: D1SessionAnswer } {
    if (this.#session === null) return {};
    return {
      session: {
        bookmark: this.#session.getBookmark(),
        ...(this.#region === undefined ? {} : { region: this.#region }),
        ...(this.#isPrimary === undefined ? {} : { primary: this.#isPrimary }),
      },
    };
  }
}
