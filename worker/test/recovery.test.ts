// Bookmarks and the way back to one: on the local runtime, which keeps no history, and on a stand-in that does.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";

import { Client, upgradeWith } from "./client";

const OTHER = "another-token-of-32-characters-00";
const BOOKMARK = "0000007b-0000b26e-00001538-0c3e87bb37b3db5cc52eedb93cd3b96b";
const DAY = 24 * 60 * 60 * 1000;

test("the local runtime has a current bookmark, no earlier one, and no way back", async () => {
  const client = await Client.open();
  const db = "do:test/recovery/local";
  await client.batch(db, "CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const current = await client.ask({ op: "bookmark", db });
  expect(current).toMatchObject({ results: [{ columns: ["bookmark"] }] });
  const unsupported = {
    error: { kind: "unsupported", message: "this runtime keeps no history of objects", effect: "none" },
  };
  expect(await client.ask({ op: "bookmark", db, at: Date.now() - 1000 })).toEqual(unsupported);
  expect(await client.ask({ op: "restore", db, bookmark: BOOKMARK, steps: [] })).toEqual(unsupported);
  // It lives on.
  expect(await client.column(db, "SELECT count(*) FROM t")).toEqual([0]);
  client.close();
});

test.each([
  ["in the future", Date.now() + DAY],
  ["30 days ago", Date.now() - 31 * DAY],
])("a moment %s is refused", async (why, at) => {
  const client = await Client.open();
  const answer = await client.ask({ op: "bookmark", db: "do:test/recovery/moment", at });
  expect(answer).toMatchObject({ error: { kind: "bad_bookmark", effect: "none" } });
  expect((answer["error"] as { message: string }).message).toContain(why);
  client.close();
});

test("the steps of a restore are a condition", async () => {
  const client = await Client.open();
  const db = "do:test/recovery/condition";
  const steps = [{ sql: "CREATE TABLE t (id INTEGER PRIMARY KEY)" }, { sql: "SELECT nothing" }];
  expect(await client.ask({ op: "restore", db, bookmark: BOOKMARK, steps })).toMatchObject({
    error: { kind: "sql", step: 1, effect: "none" },
  });
  expect(await client.column(db, "SELECT name FROM sqlite_master WHERE name = 't'")).toEqual([]);
  client.close();
});

test.each(["bookmark", "restore"])("a token for objects alone may not send %s", async (op) => {
  const client = await Client.open(upgradeWith({ RELAY_TOKEN_TENANTS: OTHER }, OTHER));
  const db = "do:test/recovery/scope";
  const answer = await client.ask({ op, db, bookmark: BOOKMARK, steps: [] });
  expect(answer).toMatchObject({ error: { kind: "forbidden", effect: "none" } });
  expect(await client.batch(db, "SELECT 1 AS a")).not.toHaveProperty("error");
  client.close();
});

test("an object refuses bookmarks for another name", async () => {
  const stub = env.TENANTS.getByName("tenant/acme");
  await runInDurableObject(stub, async (tenant) => {
    expect(() => tenant.bookmark("tenant/other", undefined)).toThrow("another object's name");
    const call = { name: "tenant/other", bookmark: BOOKMARK, steps: [] };
    await expect(tenant.restore(call, () => Promise.resolve())).rejects.toThrow("another object's name");
  });
});
