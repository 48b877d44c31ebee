// Requests in a session of D1: the bookmark that each answers, whichever way the relay runs its steps.

import { beforeEach, describe, expect, test } from "vitest";

import { D1Source } from "../src/d1-source";
import { d1Failure } from "../src/errors";
import { Client, upgrade } from "./client";

const db = "d1:d0b41d9e-0000-4000-8000-000000000005";
let client: Client;

type Frame = Record<string, unknown>;

beforeEach(async () => {
  client = await Client.open();
  await client.batch(db, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
});

const ask = (session: string, ...steps: Frame[]): Promise<Frame> =>
  client.ask({ op: "batch", db, session, steps });

function bookmarkOf(answer: Frame): string {
  const { bookmark } = answer["session"] as { bookmark: unknown };
  expect(bookmark).toMatch(/^[\x21-\x7e]{10,256}$/);
  return String(bookmark);
}

describe.each(["first-primary", "first-unconstrained"])("in a session %s", (session) => {
  test.each<[string, Frame[], unknown]>([
    ["a read alone", [{ sql: "SELECT 1 AS a, 2 AS a" }], [{ columns: ["a", "a"], rows: [[1, 2]] }]],
    [
      "parallel reads",
      [{ sql: "SELECT 1 AS a" }, { sql: "SELECT 2 AS b WHERE 0" }],
      [
        { columns: ["a"], rows: [[1]] },
        { columns: ["b"], rows: [] },
      ],
    ],
    [
      "a batch that writes",
      [{ sql: "INSERT INTO t (a) VALUES (5)", count: true }, { sql: "SELECT a FROM t" }],
      [
        { columns: [], rows: [], changes: 1, last_row_id: 1 },
        { columns: ["a"], rows: [[5]] },
      ],
    ],
  ])("%s answers its results and a bookmark", async (_name, steps, results) => {
    const answer = await ask(session, ...steps);
    expect(answer["results"]).toEqual(results);
    bookmarkOf(answer);
  });

  test("a metered read answers its counters from the second time on, and a bookmark each time", async () => {
    const step = { sql: "SELECT id, a FROM t", meter: true };
    bookmarkOf(await ask(session, step));
    const answer = await ask(session, step);
    expect(answer).toMatchObject({ results: [{ columns: ["id", "a"], rows: [], rows_written: 0 }] });
    bookmarkOf(answer);
  });
});

test("a later request goes on from the bookmark, which a write advances", async () => {
  const before = bookmarkOf(await ask("first-unconstrained", { sql: "SELECT 1 AS a" }));
  const written = bookmarkOf(await ask("first-primary", { sql: "INSERT INTO t (a) VALUES (1)" }));
  const answer = await ask(written, { sql: "SELECT a FROM t" });
  expect(answer).toMatchObject({ results: [{ rows: [[1]] }] });
  expect([before, written, bookmarkOf(answer)]).toEqual([before, written, bookmarkOf(answer)].toSorted());
  expect(written > before).toBe(true);
});

test("a request without a session answers no bookmark", async () => {
  expect(await client.batch(db, "SELECT 1 AS a")).toEqual({ results: [{ columns: ["a"], rows: [[1]] }] });
});

test.each<[string, Frame[]]>([
  ["parallel reads", [{ sql: "SELECT 1 AS a" }, { sql: "SELECT nope" }]],
  ["a batch", [{ sql: "DELETE FROM t" }, { sql: "SELECT nope" }]],
])("%s that fail answer no bookmark, which D1 does not return with every error", async (_name, steps) => {
  const answer = await ask("first-primary", ...steps);
  expect(answer).toMatchObject({ error: { kind: "sql" } });
  expect(answer).not.toHaveProperty("session");
});

test("a request without steps has reached no bookmark", async () => {
  expect(await ask("first-unconstrained")).toEqual({ session: { bookmark: null }, results: [] });
});

test("the handshake offers sessions of D1", async () => {
  expect((await upgrade()).headers.get("do-bridge-d1-sessions")).toBe("1");
});

test.each([
  "D1_SESSION_ERROR: invalid bookmark or constraint",
  "D1_ERROR: the bookmark is not one of this database",
])("the runtime's refusal of a bookmark has a kind of its own: %s", (message) => {
  expect(d1Failure(new Error(message))).toMatchObject({ kind: "bad_session", effect: "unknown" });
});

test("a column named bookmark is no refused bookmark", () => {
  const error = new Error("D1_ERROR: no such column: bookmark at offset 7: SQLITE_ERROR");
  expect(d1Failure(error, 0)).toMatchObject({ kind: "sql", step: 0 });
});

test("the newest bookmark and who has served are reported as the stand-in of a session's counters names it", () => {
  const bookmarks = ["b1", "b3", "b2"];
  const withSession = (): unknown => {
    const bookmark = bookmarks.shift();
    return { getBookmark: () => bookmark };
  };
  const database = { withSession } as unknown as D1Database;
  const meta = (region: string, isPrimary: boolean): D1Meta =>
    ({ served_by_region: region, served_by_primary: isPrimary }) as D1Meta;
  const source = new D1Source(database, "first-unconstrained");
  expect(source.reached()).toEqual({ session: { bookmark: null } });
  for (let queries = 0; queries < 3; queries += 1) source.open();
  expect(source.reached()).toEqual({ session: { bookmark: "b3" } });
  source.note(meta("WEUR", false));
  source.note(meta("WEUR", true));
  expect(source.reached()).toEqual({ session: { bookmark: "b3", region: "WEUR", primary: false } });
});
