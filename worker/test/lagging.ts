// The relay over D1 databases with a replica that lags: a stand-in for what the local runtime does not simulate.
//
// It offers the platform's documented interface alone, https://developers.cloudflare.com/d1/worker-api/d1-database/:
// without withSession() everything is the primary's; `first-primary` sends the first query there, and that one alone;
// a bookmark is answered by a database that is at least as new. The replica is the bound database DB_TEST_8. It holds a copy of the
// database of its last `GET /replicate?binding=DB_TEST_1`, and no later change.

import relay, { Tenant } from "../src/index";

export { Tenant };

const REPLICA = "DB_TEST_8";
const READS = /^\s*(?:SELECT|VALUES|WITH|EXPLAIN|PRAGMA\s+(?!defer))/i;
const CONSTRAINTS = ["first-primary", "first-unconstrained"];
/** Bookmarks are sorted as texts; this one is refused, as one of another database may be. */
const FOREIGN = "ffffffff-foreign";

/** How many writes each database has seen, and how many of them the replica has. */
const versions = new Map<string, number>();
let replicated: { binding: string; version: number } | null = null;

type Queries = Pick<D1Database, "prepare" | "batch">;

function bookmarkOf(version: number): string {
  return `${String(version).padStart(8, "0")}-lagging`;
}

/** One way to a database, which chooses for each query who serves it. */
class Lagging {
  readonly #binding: string;
  readonly #primary: D1Database;
  readonly #replica: D1Database;
  /** Null outside of a session. */
  #session: string | null;
  #queries = 0;

  constructor(binding: string, primary: D1Database, replica: D1Database, session: string | null = null) {
    this.#binding = binding;
    this.#primary = primary;
    this.#replica = replica;
    this.#session = session;
  }

  withSession(session = "first-unconstrained"): Lagging {
    return new Lagging(this.#binding, this.#primary, this.#replica, session);
  }

  getBookmark(): string | null {
    return this.#session === null || CONSTRAINTS.includes(this.#session) ? null : this.#session;
  }

  prepare(sql: string): D1PreparedStatement {
    return this.#statement(sql, []);
  }

  async batch<T>(statements: D1PreparedStatement[]): Promise<D1Result<T>[]> {
    const texts = statements.map((statement) => made.get(statement));
    return this.#run(
      texts.every((text) => READS.test(text?.sql ?? "")),
      (queries) =>
        queries.batch<T>(texts.map((text) => queries.prepare(text?.sql ?? "").bind(...(text?.params ?? [])))),
    );
  }

  #statement(sql: string, params: unknown[]): D1PreparedStatement {
    const isRead = READS.test(sql);
    const own = (queries: Queries): D1PreparedStatement => queries.prepare(sql).bind(...params);
    const statement = {
      bind: (...values: unknown[]) => this.#statement(sql, values),
      all: () => this.#run(isRead, async (queries) => own(queries).all()),
      run: () => this.#run(isRead, async (queries) => own(queries).run()),
      raw: (options: { columnNames: true }) =>
        this.#run(isRead, async (queries) => own(queries).raw(options)),
    } as unknown as D1PreparedStatement;
    made.set(statement, { sql, params });
    return statement;
  }

  async #run<T>(isRead: boolean, work: (queries: Queries) => Promise<T>): Promise<T> {
    if (this.#session === FOREIGN) throw new Error("D1_ERROR: the bookmark is not one of this database");
    this.#queries += 1;
    const current = versions.get(this.#binding) ?? 0;
    const byReplica = isRead && this.#isServedByReplica();
    const result = await work(byReplica ? this.#replica : this.#primary);
    if (!isRead) versions.set(this.#binding, (versions.get(this.#binding) ?? 0) + 1);
    if (this.#session !== null) this.#reach(byReplica ? (replicated?.version ?? 0) : isRead ? current : null);
    for (const one of Array.isArray(result) ? result : [result]) serve(one, byReplica);
    return result;
  }

  #isServedByReplica(): boolean {
    if (this.#session === null || replicated?.binding !== this.#binding) return false;
    // Of queries at once, those behind the first one may be a replica's.
    if (this.#session === "first-primary") return this.#queries > 1;
    return this.#session === "first-unconstrained" || this.#session <= bookmarkOf(replicated.version);
  }

  #reach(version: number | null): void {
    const reached = bookmarkOf(version ?? versions.get(this.#binding) ?? 0);
    const known = this.getBookmark();
    if (known === null || known < reached) this.#session = reached;
  }
}

const made = new WeakMap<D1PreparedStatement, { sql: string; params: unknown[] }>();

function serve(result: unknown, byReplica: boolean): void {
  const { meta } = result as { meta?: D1Meta };
  if (meta === undefined) return;
  meta.served_by_region = byReplica ? "WEUR" : "ENAM";
  meta.served_by_primary = !byReplica;
}

/** Makes the replica a copy of a database, as the platform does some time after each write. */
async function replicate(env: Env, binding: string): Promise<Response> {
  const [primary, replica] = [binding, REPLICA].map((name) => Reflect.get(env, name) as D1Database);
  if (primary === undefined || replica === undefined)
    return Response.json({ error: "unknown" }, { status: 404 });
  const tables = `SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL
    AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_cf!_%' ESCAPE '!'`;
  type Table = { name: string; sql: string };
  const before = (await replica.prepare(tables).all<Table>()).results;
  const now = (await primary.prepare(tables).all<Table>()).results;
  const statements = [replica.prepare("PRAGMA defer_foreign_keys = on")];
  for (const { name } of before) statements.push(replica.prepare(`DROP TABLE "${name}"`));
  // All of one moment: a row that comes meanwhile may point at one that was read before.
  const rows = await primary.batch<Record<string, unknown>>(
    now.map(({ name }) => primary.prepare(`SELECT * FROM "${name}"`)),
  );
  // All tables before any row, which may point at a table that comes later.
  for (const { sql } of now) statements.push(replica.prepare(sql));
  for (const [at, { name }] of now.entries()) {
    for (const row of rows[at]?.results ?? []) {
      const values = Object.values(row);
      const slots = values.map((_, index) => `?${index + 1}`).join(", ");
      statements.push(replica.prepare(`INSERT INTO "${name}" VALUES (${slots})`).bind(...values));
    }
  }
  await replica.batch(statements);
  replicated = { binding, version: versions.get(binding) ?? 0 };
  return Response.json({ version: replicated.version });
}

/** The environment, but with a replica behind each database. */
export function withReplicas(env: Env): Env {
  const lagging: Record<string, PropertyDescriptor> = {};
  for (const binding of Object.values<string>(env.D1_DATABASES)) {
    const primary = Reflect.get(env, binding) as D1Database;
    const replica = Reflect.get(env, REPLICA) as D1Database;
    lagging[binding] = { value: new Lagging(binding, primary, replica) };
  }
  return Object.create(env, lagging) as Env;
}

export async function fetchLagging(
  request: Request<unknown, IncomingRequestCfProperties>,
  env: Env,
): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/replicate") return replicate(env, searchParams.get("binding") ?? "");
  return relay.fetch(request, withReplicas(env));
}

export default { fetch: fetchLagging } satisfies ExportedHandler<Env>;
