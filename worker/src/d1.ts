// Runs statements on a D1 database with columns, rows and counts in one answer.

import { WorkFailed, d1Failure } from "./errors";
import type { Answer, Statement } from "./protocol";
import { Results, type StatementResult } from "./statement";
import type { SqlValue } from "./values";

type ObjectRow = Record<string, SqlValue>;

/** Runs the steps as one atomic unit. */
export async function runOnD1(database: D1Database, steps: Statement[]): Promise<Answer> {
  const results = new Results();
  try {
    for (const result of await query(database, steps)) results.add(result, "unknown");
    return { results: results.texts };
  } catch (error) {
    if (error instanceof WorkFailed) return { results: [], error: error.failure };
    return { results: [], error: d1Failure(error, steps.length === 1 ? 0 : undefined) };
  }
}

/**
 * Chooses D1's way in: `raw()` keeps columns of the same name apart and names those of an empty result, but has no
 * counts and knows no batch; the others have counts, and rows as objects.
 */
async function query(database: D1Database, steps: Statement[]): Promise<StatementResult[]> {
  const [first, ...others] = steps;
  if (first === undefined) return [];
  if (others.length === 0 && !first.count) return [await readOne(prepare(database, first))];
  const results = await database.batch<ObjectRow>(steps.map((step) => prepare(database, step)));
  return results.map((result, index) => readObjects(result, steps[index]?.count ?? false));
}

function prepare(database: D1Database, { sql, params }: Statement): D1PreparedStatement {
  return database.prepare(sql).bind(...params);
}

async function readOne(statement: D1PreparedStatement): Promise<StatementResult> {
  const [columns = [], ...rows] = await statement.raw<SqlValue[]>({ columnNames: true });
  return { columns, rows };
}

function readObjects({ results, meta }: D1Result<ObjectRow>, count: boolean): StatementResult {
  const columns = Object.keys(results[0] ?? {});
  const rows = results.map((row) => columns.map((column) => row[column] ?? null));
  const counts = { changes: meta.changes, last_row_id: meta.last_row_id };
  return { columns, rows, ...(count ? { counts } : {}) };
}
