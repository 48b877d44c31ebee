// What a session does beside the wire examples: sizes, its limit, one bad frame among good ones.

import { expect, test } from "vitest";

import { MAX_REQUEST_BYTES } from "../src/protocol";
import { Client, upgradeWith } from "./client";

/** A session of a Worker whose sessions end after so many subrequests. */
async function limited(subrequests: number): Promise<Client> {
  const response = await limitedResponse(subrequests);
  expect(response.headers.get("do-bridge-session-limit")).toBe(String(subrequests));
  if (response.webSocket === null) throw new Error("no session");
  return new Client(response.webSocket);
}

function limitedResponse(subrequests: number, d1Queries = 900): Promise<Response> {
  return upgradeWith({ SESSION_SUBREQUESTS: subrequests, SESSION_D1_QUERIES: d1Queries });
}

test("a session that has used up its subrequests runs nothing new, and lives on", async () => {
  const client = await limited(2);
  const db = "do:test/limit/batch";
  await client.batch(db, "CREATE TABLE t (id)");
  await client.batch(db, "SELECT 1");
  for (const request of [
    { op: "batch", db, steps: [{ sql: "INSERT INTO t VALUES (1)" }] },
    { op: "tx", db, tx: "t1", begin: true, steps: [{ sql: "INSERT INTO t VALUES (1)" }, { commit: true }] },
  ]) {
    expect((await client.ask(request))["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
  }
  expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
  const next = await Client.open();
  expect(await next.column(db, "SELECT count(*) FROM t")).toEqual([0]);
});

test.each([
  ["requests", { sql: "SELECT length(?1)", params: ["x".repeat(1_000_000)] }],
  ["answers", { sql: "SELECT hex(zeroblob(500000))" }],
])("a session that has used up its CPU by large %s runs nothing new, and lives on", async (_name, step) => {
  const client = await Client.open(upgradeWith({ SESSION_CPU_MS: 10 }));
  const request = { op: "batch", db: "do:test/limit/cpu", steps: [step] };
  for (let left = 2; left > 0; left -= 1) expect((await client.ask(request))["error"]).toBeUndefined();
  expect((await client.ask(request))["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
  expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
});

test("small statements use up the CPU of a session, too", async () => {
  const client = await Client.open(upgradeWith({ SESSION_CPU_MS: 2 }));
  const answers = [];
  for (let left = 6; left > 0; left -= 1) answers.push(await client.batch("do:test/limit/cpu", "SELECT 1"));
  expect(answers.map((answer) => "error" in answer)).toEqual([false, false, false, false, false, true]);
});

const SOME_D1 = "d1:d0b41d9e-0000-4000-8000-000000000005";
const DROP = { sql: "DROP TABLE IF EXISTS gone" };

test.each([
  ["a batch", 1, { op: "batch", db: "do:test/limit/cost", steps: [DROP, DROP] }],
  ["a batch on D1", 1, { op: "batch", db: SOME_D1, steps: [DROP, DROP] }],
  [
    "a batch of reads on D1",
    2,
    { op: "batch", db: SOME_D1, steps: [{ sql: "SELECT 1" }, { sql: "SELECT 2" }] },
  ],
  ["the question for a size", 1, { op: "size", db: "do:test/limit/cost" }],
  ["the question for an outcome", 1, { op: "outcome", db: "do:test/limit/cost", key: `${"0".repeat(32)}:1` }],
])(
  "%s costs %d of a session's subrequests, and is refused where none is left",
  async (_name, cost, request) => {
    const [spent, left] = [await limited(cost), await limited(cost + 1)];
    for (const client of [spent, left]) expect((await client.ask(request))["error"]).toBeUndefined();
    expect((await spent.ask(request))["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
    expect((await left.ask(request))["error"]).toBeUndefined();
  },
);

test("a Worker without D1 databases says so, and one without objects answers, too", async () => {
  const d1 = { op: "batch", db: "d1:d0b41d9e-0000-4000-8000-000000000005", steps: [{ sql: "SELECT 1" }] };
  const withoutD1 = await Client.open(upgradeWith({ D1_DATABASES: undefined }));
  for (const request of [d1, { ...d1, op: "size" }]) {
    const { error } = await withoutD1.ask(request);
    expect(error).toMatchObject({ kind: "unknown_database", effect: "none" });
  }
  expect(await withoutD1.column("do:test/without/d1", "SELECT 1")).toEqual([1]);
  const withoutObjects = await Client.open(upgradeWith({ TENANTS: undefined }));
  const object = { ...d1, db: "do:test/without/objects" };
  expect((await withoutObjects.ask(object))["error"]).toMatchObject({ kind: "internal" });
  expect((await withoutObjects.ask(d1))["error"]).toBeUndefined();
});

test("a request at which the relay itself fails is answered, too", async () => {
  const broken = new Proxy(
    {},
    {
      getOwnPropertyDescriptor: () => {
        throw new Error("broken");
      },
    },
  );
  const client = await Client.open(upgradeWith({ D1_DATABASES: broken }));
  const answer = await client.ask({ op: "batch", db: "d1:any", steps: [{ sql: "SELECT 1" }] });
  expect(answer["error"]).toMatchObject({ kind: "internal", effect: "unknown" });
  expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
});

test.each([0, -1, Number.NaN])(
  "a limit of %d is no limit that can be meant: the default holds",
  async (value) => {
    const response = await limitedResponse(value);
    expect(response.headers.get("do-bridge-session-limit")).toBe("9000");
    response.webSocket?.accept();
    response.webSocket?.close();
  },
);

test("a database tells the bytes that it takes on disk, and more of them once it has grown", async () => {
  const client = await Client.open();
  for (const db of ["do:test/size", "d1:d0b41d9e-0000-4000-8000-000000000008"]) {
    const ask = async (): Promise<number> => {
      const { results } = (await client.ask({ op: "size", db })) as { results: { rows: number[][] }[] };
      return results[0]?.rows[0]?.[0] ?? 0;
    };
    await client.batch(db, "CREATE TABLE large (x)");
    const before = await ask();
    expect(before % 4096).toBe(0);
    await client.batch(db, "INSERT INTO large VALUES (zeroblob(100000))");
    expect(await ask()).toBeGreaterThan(before + 90_000);
    await client.batch(db, "DROP TABLE large");
  }
  const unknown = await client.ask({ op: "size", db: "d1:nothing" });
  expect(unknown["error"]).toMatchObject({ kind: "unknown_database", effect: "none" });
});

test("a transaction that is open when the limit is reached may finish", async () => {
  const client = await limited(2);
  const db = "do:test/limit/tx";
  await client.tx(db, "t1", ["CREATE TABLE t (id)"], { begin: true });
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"]);
  expect((await client.batch(db, "SELECT 1"))["error"]).toMatchObject({ kind: "session_limit" });
  expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toBeUndefined();
  const next = await Client.open();
  expect(await next.column(db, "SELECT id FROM t")).toEqual([1]);
});

test("a session that has used up its statements on D1 still serves objects", async () => {
  const response = await limitedResponse(9000, 3);
  if (response.webSocket === null) throw new Error("no session");
  const client = new Client(response.webSocket);
  const db = "d1:d0b41d9e-0000-4000-8000-000000000005";
  await client.batch(db, "SELECT 1", "SELECT 2");
  await client.batch(db, "SELECT 3");
  const refused = await client.batch(db, "SELECT 4");
  expect(refused["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
  expect(await client.column("do:test/limit/d1", "SELECT 5")).toEqual([5]);
});

test.each([
  ["the question for a size", 1, { op: "size" }],
  [
    "the check of deferred foreign keys",
    3,
    { op: "batch", steps: [{ sql: "PRAGMA defer_foreign_keys = on" }, DROP] },
  ],
  ["the look at a step's columns", 3, { op: "batch", steps: [DROP, { sql: "SELECT 1" }] }],
  ["a count", 2, { op: "batch", steps: [{ ...DROP, count: true }] }],
])("%s counts among the statements on D1", async (_name, limit, question) => {
  const request = { ...question, db: SOME_D1 };
  const open = (): Promise<Client> => Client.open(limitedResponse(9000, limit));
  const [first, second] = [await open(), await open()];
  expect((await first.ask(request))["error"]).toBeUndefined();
  expect((await first.batch(request.db, "SELECT 1"))["error"]).toMatchObject({ kind: "session_limit" });
  await second.batch(request.db, "SELECT 1");
  expect((await second.ask(request))["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
});

test("a batch that would go beyond the statements on D1 is left to a new session, which takes any size", async () => {
  const db = "d1:d0b41d9e-0000-4000-8000-000000000005";
  const open = async (): Promise<Client> => {
    const response = await limitedResponse(9000, 3);
    if (response.webSocket === null) throw new Error("no session");
    return new Client(response.webSocket);
  };
  const [first, second] = [await open(), await open()];
  const four = ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"];
  await first.batch(db, "SELECT 1");
  expect((await first.batch(db, ...four))["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
  expect((await second.batch(db, ...four))["error"]).toBeUndefined();
});

test("a frame that is too large is refused, and the session lives on", async () => {
  const client = await Client.open();
  client.sendText(" ".repeat(MAX_REQUEST_BYTES + 1));
  expect(await client.receive()).toMatchObject({ id: null, error: { kind: "too_large", effect: "none" } });
  // Bytes count, not characters.
  client.sendText("é".repeat(MAX_REQUEST_BYTES / 2 + 1));
  expect(await client.receive()).toMatchObject({ id: null, error: { kind: "too_large" } });
  expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
});

test("a request of too many steps is refused, and the session and its transaction live on", async () => {
  const client = await Client.open();
  const db = "do:test/many/steps";
  await client.tx(db, "t1", ["CREATE TABLE t (id)"], { begin: true });
  // In a frame that may be sent, and too much for a call to the object.
  const steps = Array.from({ length: 700_000 }, () => ({ sql: "" }));
  const refused = { error: { kind: "too_large", effect: "none" } };
  expect(await client.ask({ op: "batch", db: "do:test/many/others", steps })).toMatchObject(refused);
  expect(await client.tx(db, "t1", steps)).toMatchObject(refused);
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1)", { commit: true }]);
  expect(await client.column(db, "SELECT id FROM t")).toEqual([1]);
});

test.each([
  ["250 requests", 250, ""],
  ["32 MiB of them", 2, "x".repeat(MAX_REQUEST_BYTES - 1000)],
])(
  "a session where %s wait for their answers takes no more until they have come",
  async (_name, many, text) => {
    const [client, other] = [await Client.open(), await Client.open()];
    const db = `do:test/unanswered/${many}`;
    const batch = (sql: string): Record<string, unknown> => ({
      op: "batch",
      db,
      steps: [{ sql }],
      unread: text,
    });
    await other.tx(db, "t1", ["CREATE TABLE t (id)"], { begin: true });
    const waiting = Array.from({ length: many }, (_value, id) =>
      client.send(batch(`INSERT INTO t VALUES (${id})`)),
    );
    const refused = await client.ask(batch("INSERT INTO t VALUES (-1)"));
    expect(refused["error"]).toMatchObject({ kind: "overloaded", effect: "none" });
    await other.tx(db, "t1", [{ commit: true }]);
    for (const id of waiting) expect(await client.receive()).toMatchObject({ id, results: [{}] });
    expect(await client.column(db, "SELECT min(id) || ' ' || count(*) FROM t")).toEqual([`0 ${many}`]);
    client.close();
    other.close();
  },
);

test("a binary frame is refused, and the session lives on", async () => {
  const client = await Client.open();
  client.sendText(new ArrayBuffer(3));
  expect(await client.receive()).toMatchObject({ id: null, error: { kind: "bad_request" } });
  expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
});

const MANY_MEGABYTES =
  "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 32) " +
  "SELECT i, replace(hex(zeroblob(1000000)), '00', 'x') AS a FROM n";

test("an answer that is too large undoes its batch", async () => {
  const client = await Client.open();
  const db = "do:test/large/batch";
  const answer = await client.batch(db, "CREATE TABLE t (id)", MANY_MEGABYTES);
  expect(answer).toMatchObject({ error: { kind: "too_large", effect: "none", step: 1 } });
  expect(await client.column(db, "SELECT name FROM sqlite_schema WHERE name = 't'")).toEqual([]);
});

test("an answer that is too large leaves its transaction open", async () => {
  const client = await Client.open();
  const db = "do:test/large/tx";
  const answer = await client.tx(db, "t1", ["CREATE TABLE t (id)", MANY_MEGABYTES], { begin: true });
  expect(answer).toMatchObject({ error: { kind: "too_large", effect: "statement", step: 1 } });
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1)", { commit: true }]);
  expect(await client.column(db, "SELECT id FROM t")).toEqual([1]);
});

test("a write whose rows are too large is undone alone", async () => {
  const client = await Client.open();
  const db = "do:test/large/write";
  await client.batch(db, "CREATE TABLE t (id)");
  const write = {
    sql: `INSERT INTO t SELECT i FROM (${MANY_MEGABYTES}) RETURNING hex(zeroblob(500000))`,
    count: true,
  };
  const alone = await client.ask({ op: "batch", db, steps: [write] });
  expect(alone).toMatchObject({ error: { kind: "too_large", effect: "none", step: 0 } });
  const inside = await client.tx(db, "t1", ["INSERT INTO t VALUES (77)", write], { begin: true });
  expect(inside).toMatchObject({ error: { kind: "too_large", effect: "statement", step: 1 } });
  expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toBeUndefined();
  expect(await client.column(db, "SELECT id FROM t")).toEqual([77]);
});

test("an answer that its way from the object makes too large is told as any other", async () => {
  const client = await Client.open();
  const db = "do:test/large/wide";
  await client.batch(db, "CREATE TABLE t (id)");
  // One character beyond Latin-1 doubles what all of them take.
  const wide = (rows: number): string =>
    `INSERT INTO t SELECT i FROM (${MANY_MEGABYTES}) WHERE i <= ${rows} ` +
    `RETURNING hex(zeroblob(500000)) || '\u20ac'`;
  const alone = await client.batch(db, wide(17));
  expect(alone).toMatchObject({ error: { kind: "too_large", effect: "none", step: 0 } });
  const inside = await client.tx(db, "t1", ["INSERT INTO t VALUES (77)", wide(17)], { begin: true });
  expect(inside).toMatchObject({ error: { kind: "too_large", effect: "statement", step: 1 } });
  expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toBeUndefined();
  expect(await client.column(db, "SELECT id FROM t")).toEqual([77]);
  const largest = await client.batch(db, wide(14));
  expect(largest["error"]).toBeUndefined();
});

test("an answer of D1 that is too large is an error, too", async () => {
  const client = await Client.open();
  const answer = await client.batch("d1:d0b41d9e-0000-4000-8000-000000000007", MANY_MEGABYTES);
  expect(answer).toMatchObject({ error: { kind: "too_large", effect: "unknown", step: 0 } });
});

test("an error names no value", async () => {
  const client = await Client.open();
  const step = { sql: "INSERT INTO nope VALUES (?1)", params: ["a-private-value"] };
  const answer = await client.ask({ op: "batch", db: "do:test/private", steps: [step] });
  expect(JSON.stringify(answer)).not.toContain("a-private-value");
});
