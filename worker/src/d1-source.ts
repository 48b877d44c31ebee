// The way to a D1 database for one request: its primary, or sessions of D1 that replicas may serve.

import type { D1SessionAnswer } from "./protocol";

type Queries = Pick<D1Database, "prepare" | "batch">;

/**
 * A relay session serves many visitors, so a session of D1 lives for one request at most:
 * https://developers.cloudflare.com/d1/worker-api/d1-database/#withsession
 */
export class D1Source {
  readonly database: D1Database;
  readonly #constraint: string | undefined;
  readonly #sessions: D1DatabaseSession[] = [];
  #region: string | undefined;
  #isPrimary: boolean | undefined;

  /** `constraint` is `first-primary`, `first-unconstrained` or a bookmark; without one everything is the primary's. */
  constructor(database: D1Database, constraint?: string) {
    this.database = database;
    this.#constraint = constraint;
  }

  /** A way for one query or batch: of a session's queries only the first goes where the constraint says. */
  open(): Queries {
    if (this.#constraint === undefined) return this.database;
    const session = this.database.withSession(this.#constraint);
    this.#sessions.push(session);
    return session;
  }

  /** Takes down who has served a statement, which only some ways of running it report. */
  note({ served_by_region: region, served_by_primary: isPrimary }: D1Meta): void {
    if (region !== undefined) this.#region = region;
    if (isPrimary !== undefined) this.#isPrimary = isPrimary && this.#isPrimary !== false;
  }

  /** What the answer of a request in a session of D1 reports beside its results. */
  reached(): { session?: D1SessionAnswer } {
    if (this.#constraint === undefined) return {};
    const bookmarks = this.#sessions.map((session) => session.getBookmark() ?? "");
    // Bookmarks are sorted as texts: https://developers.cloudflare.com/d1/reference/glossary/
    const newest = bookmarks.reduce((one, other) => (one < other ? other : one), "");
    return {
      session: {
        bookmark: newest === "" ? null : newest,
        ...(this.#region === undefined ? {} : { region: this.#region }),
        ...(this.#isPrimary === undefined ? {} : { primary: this.#isPrimary }),
      },
    };
  }
}
