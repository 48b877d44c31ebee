// Runs statements on a D1 database with columns, rows and counts in one answer.

import { haveColumns, keepTheirOrder, type KnownColumns } from "./d1-columns";
import { D1Source } from "./d1-source";
import { WorkFailed, d1Failure } from "./errors";
import type { Answer, Statement } from "./protocol";
import { Results, defersForeignKeys, type Counts, type StatementResult, type Usage } from "./statement";
import type { SqlValue } from "./values";

type ObjectRow = Record<string, SqlValue>;

/** The places of a step's result, its explanation and its counts in the answer of a batch. */
interface Placed {
  step: Statement;
  result: number;
  explanation: number | null;
  counts: number | null;
}

/** One statement that only reads, without a second one after a semicolon. */
const READS = /^\s*(?:SELECT|VALUES)\b[^;]*;?\s*$/i;
/** Statements whose rows, if any, have names that are known to differ. */
const ROWLESS = /^\s*(?:INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|EXPLAIN|REINDEX|ANALYZE)\b/i;
const RETURNS = /\bRETURNING\b/i;
/** More than one statement, or a semicolon in a literal. */
const SEVERAL = /;\s*\S/;

/** D1 cannot branch inside a batch: this reads nothing if all is well, and fails with the rows' names otherwise. */
const FOREIGN_KEY_GUARD =
  `SELECT json_extract('{}', 'FOREIGN KEY constraint failed: ' || ` +
  `group_concat("table" || ' row ' || coalesce(rowid, '?') || ' -> ' || parent, ', ')) ` +
  `FROM (SELECT * FROM pragma_foreign_key_check LIMIT 5) HAVING count(*) > 0`;

/** D1's own `changes` counts the rows of cascades, of triggers and of the tables behind a virtual table, too. */
const COUNTS = "SELECT changes() AS changes, last_insert_rowid() AS last_row_id";

/**
 * Runs the steps as one atomic unit; `known` are the columns of the relay session's earlier reads. With `constraint`
 * they run in a session of D1, which replicas may serve, and the answer has its bookmark.
 */
export async function runOnD1(
  database: D1Database,
  steps: Statement[],
  known: KnownColumns,
  constraint?: string,
): Promise<Answer> {
  const results = new Results({ byRpc: false });
  try {
    const source = new D1Source(database, constraint);
    for (const result of await run(source, steps, known)) results.add(result, "unknown");
    return { results: results.texts, ...source.reached() };
  } catch (error) {
    if (error instanceof WorkFailed) return { results: [], error: error.failure };
    return { results: [], error: d1Failure(error, steps.length === 1 ? 0 : undefined) };
  }
}

/** Returns the bytes that a database takes on disk, which every answer of D1 contains. */
export async function sizeOfD1(database: D1Database): Promise<number> {
  const { meta } = await database.prepare("SELECT 1").run();
  return meta.size_after;
}

/** What a request uses of an invocation's limits: its subrequests, and the statements that D1 runs. */
export function costOnD1(steps: Statement[]): { subrequests: number; queries: number } {
  if (readsAlone(steps)) return { subrequests: steps.length, queries: steps.length };
  const added = steps.map(({ sql, count }) => 1 + Number(canBeExplained(sql)) + Number(count));
  const guard = Number(steps.some(defersForeignKeys));
  return { subrequests: 1, queries: added.reduce((sum, queries) => sum + queries, guard) };
}

/**
 * Chooses D1's way in. `raw()` keeps columns with the same name apart and names those of an empty result, but has
 * no counts and no batch; `batch()` has both, and returns rows as objects.
 */
async function run(source: D1Source, steps: Statement[], known: KnownColumns): Promise<StatementResult[]> {
  if (steps.length === 0) return [];
  if (readsAlone(steps)) {
    return Promise.all(steps.map((step, index) => runAlone(source, step, index, known)));
  }
  return runBatch(source, steps);
}

/** Whether the steps need no batch: a single one, or reads that leave nothing to undo. */
function readsAlone(steps: Statement[]): boolean {
  if (steps.some(({ count }) => count)) return false;
  return steps.length === 1 || steps.every(({ sql }) => READS.test(sql));
}

async function runAlone(
  source: D1Source,
  { sql, params, meter }: Statement,
  index: number,
  known: KnownColumns,
): Promise<StatementResult> {
  try {
    const { database } = source;
    const statement = source
      .open()
      .prepare(sql)
      .bind(...params);
    const expected = meter ? known.of(database, sql) : undefined;
    const metered = expected === undefined ? null : await runMetered(source, statement, expected);
    if (metered !== null) return metered;
    const [columns = [], ...rows] = await statement.raw<SqlValue[]>({ columnNames: true });
    if (meter && READS.test(sql)) known.note(database, sql, columns);
    return { columns, rows, figures: null };
  } catch (error) {
    throw new WorkFailed(d1Failure(error, index));
  }
}

/** Runs a read whose columns are known; null if they have changed, and it has to be read again. */
async function runMetered(
  source: D1Source,
  statement: D1PreparedStatement,
  columns: string[],
): Promise<StatementResult | null> {
  const { results, meta } = await statement.all<ObjectRow>();
  source.note(meta);
  if (!haveColumns(results, columns)) return null;
  return { columns, rows: inOrder(results, columns), figures: () => usageOf([meta]) };
}

async function runBatch(source: D1Source, steps: Statement[]): Promise<StatementResult[]> {
  const statements: D1PreparedStatement[] = [];
  const queries = source.open();
  const add = (sql: string, params: string[]): number =>
    statements.push(queries.prepare(sql).bind(...params)) - 1;
  const placed = steps.map((step): Placed => {
    const { sql, params } = step;
    const explanation = canBeExplained(sql)
      ? add(
          `EXPLAIN ${sql}`,
          params.map(() => ""),
        )
      : null;
    return { step, explanation, result: add(sql, params), counts: step.count ? add(COUNTS, []) : null };
  });
  if (steps.some(defersForeignKeys)) add(FOREIGN_KEY_GUARD, []);
  const answers = await queries.batch<ObjectRow>(statements);
  for (const { meta } of answers) source.note(meta);
  return placed.map((place, index) => readObjects(answers, place, index));
}

/** Whether a step may have rows whose columns are merged, and has a plan. */
function canBeExplained(sql: string): boolean {
  // EXPLAIN applies to the first statement of a text only; the others would run, twice.
  return !SEVERAL.test(sql) && (!ROWLESS.test(sql) || RETURNS.test(sql));
}

function readObjects(
  answers: D1Result<ObjectRow>[],
  { step, result, explanation, counts }: Placed,
  index: number,
): StatementResult {
  const own = [result, explanation, counts].flatMap((place) => answers[place ?? -1]?.meta ?? []);
  const answer = answers[result];
  if (answer === undefined) throw new Error("internal error: D1 answered fewer statements than it was sent");
  const { results, meta } = answer;
  const columns = Object.keys(results[0] ?? {});
  // For a multi-statement text nothing reveals how wide the rows of the last one are.
  const unexplained = SEVERAL.test(step.sql) ? null : columns.length;
  const width = explanation === null ? unexplained : columnCount(answers[explanation]?.results ?? []);
  if (results.length > 0 && !trustworthy(columns, width)) throw ambiguous(index);
  const figures = (): Partial<Counts & Usage> => ({
    ...(counts === null ? {} : readCounts(answers[counts], meta.changes)),
    ...(step.meter ? usageOf(own) : {}),
  });
  const asked = counts !== null || step.meter;
  return { columns, rows: inOrder(results, columns), figures: asked ? figures : null };
}

function inOrder(rows: ObjectRow[], columns: string[]): SqlValue[][] {
  return rows.map((row) => columns.map((column) => row[column] ?? null));
}

function usageOf(metas: D1Meta[]): Usage {
  const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);
  return {
    rows_read: sum(metas.map((meta) => meta.rows_read)),
    rows_written: sum(metas.map((meta) => meta.rows_written)),
  };
}

function readCounts(answer: D1Result<ObjectRow> | undefined, changed: number): Counts {
  const [row] = answer?.results ?? [];
  // changes() keeps the count of an earlier statement if this one was not an INSERT, UPDATE or DELETE.
  return { changes: changed === 0 ? 0 : Number(row?.["changes"]), last_row_id: Number(row?.["last_row_id"]) };
}

/** SQLite's plan contains the number of columns of a statement's rows. */
function columnCount(plan: ObjectRow[]): number {
  const widths = plan.filter(({ opcode }) => opcode === "ResultRow").map(({ p2 }) => Number(p2));
  return Math.max(0, ...widths);
}

/** Whether the keys of a row are its columns, all of them and in order. */
function trustworthy(columns: string[], width: number | null): boolean {
  return columns.length === width && keepTheirOrder(columns);
}

function ambiguous(step: number): WorkFailed {
  const message =
    "the batch was run, but D1 merges or reorders the columns of this step. Give each a name of its own with AS";
  return new WorkFailed({ kind: "unsupported", message, effect: "unknown", step });
}
