// Where objects are. The local runtime has no jurisdictions: test/jurisdictions.ts stands in for the platform's, and
// a fake namespace records which hints it is given, because the local runtime ignores them.

import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";

import { placementRefusal, stubOf, type Place } from "../src/placement";
import type { ObjectDatabase } from "../src/protocol";
import { Tenant } from "../src/tenant";
import { Client, upgradeWith } from "./client";
import { TenantEu, withJurisdictions } from "./jurisdictions";

function fake(variables: Record<string, string>): { env: Env; calls: unknown[][] } {
  const calls: unknown[][] = [];
  const namespace = {
    getByName: (...given: unknown[]) => calls.push(["getByName", ...given]),
    jurisdiction: (name: string) => {
      calls.push(["jurisdiction", name]);
      return namespace;
    },
  };
  return { env: { TENANTS: namespace, ...variables } as unknown as Env, calls };
}

function object(jurisdiction?: string): ObjectDatabase {
  return { kind: "do", name: "tenant/a", jurisdiction };
}

const place = (jurisdiction?: string, location?: string): Place => ({ ...object(jurisdiction), location });

const WEUR = { locationHint: "weur" };
const ENAM = { locationHint: "enam" };

test.each([
  [{}, place(), [["getByName", "tenant/a"]]],
  [{ JURISDICTION: "", LOCATION_HINT: "" }, place(), [["getByName", "tenant/a"]]],
  [{ LOCATION_HINT: "weur" }, place(), [["getByName", "tenant/a", WEUR]]],
  [{ LOCATION_HINT: "weur" }, place(undefined, "enam"), [["getByName", "tenant/a", ENAM]]],
  [
    { LOCATION_HINT: "enam" },
    place("eu"),
    [
      ["jurisdiction", "eu"],
      ["getByName", "tenant/a"],
    ],
  ],
  [
    { LOCATION_HINT: "enam" },
    place("eu", "weur"),
    [
      ["jurisdiction", "eu"],
      ["getByName", "tenant/a", WEUR],
    ],
  ],
])("a fake namespace is asked rightly: variables %j, object %j", (variables, asked, expected) => {
  const { env: faked, calls } = fake(variables);
  stubOf(faked, asked);
  expect(calls).toEqual(expected);
});

test.each([
  ["eu", "eu", null],
  [
    "eu",
    undefined,
    "the jurisdiction eu alone (JURISDICTION), and was asked for an object in no jurisdiction",
  ],
  ["eu", "us", "and was asked for an object in the jurisdiction us"],
  ["", "us", null],
  ["", undefined, null],
])("a relay for %j asked for an object in %j on a stand-in", (JURISDICTION, jurisdiction, told) => {
  const own = Object.create(withJurisdictions(env), { JURISDICTION: { value: JURISDICTION } }) as Env;
  const refusal = placementRefusal(own, object(jurisdiction));
  if (told === null) expect(refusal).toBeNull();
  else {
    expect(refusal).toMatchObject({ kind: "forbidden", effect: "none" });
    expect(refusal?.message).toContain(told);
  }
});

const NOWHERE = [
  [withJurisdictions(env), "zz", "Invalid jurisdiction"],
  // The test's own environment has the runtime's namespace.
  [env, "eu", "not implemented"],
] as const;

test.each(NOWHERE)(
  "a jurisdiction that does not exist is refused before anything is called",
  (own, name, why) => {
    const refusal = placementRefusal(own, object(name));
    expect(refusal).toMatchObject({ kind: "unsupported", effect: "none" });
    expect(refusal?.message).toContain(`no objects in the jurisdiction ${name}: `);
    expect(refusal?.message).toContain(why);
  },
);

describe("on a stand-in for jurisdictions", () => {
  const CREATE = "CREATE TABLE IF NOT EXISTS t (place)";
  const places = ["do:test/placed", "do:test/placed@eu", "do:test/placed@us", "do:test/placed@fedramp-high"];

  test("one name is another object in each jurisdiction, in one session at the same time", async () => {
    const client = await Client.open();
    const sent = places.flatMap((db) => [
      client.send({ op: "batch", db, steps: [{ sql: CREATE }] }),
      client.send({ op: "batch", db, steps: [{ sql: "INSERT INTO t VALUES (?1)", params: [db] }] }),
    ]);
    for (const _ of sent) expect((await client.receive())["error"]).toBeUndefined();
    for (const db of places) expect(await client.column(db, "SELECT place FROM t")).toEqual([db]);
    client.close();
  });

  test("transactions on two objects of one name do not wait for each other, and keep to their own", async () => {
    const client = await Client.open();
    const [none, eu] = ["do:test/pair", "do:test/pair@eu"];
    for (const db of [none, eu]) await client.batch(db, CREATE);
    expect(
      (await client.tx(none, "t1", ["INSERT INTO t VALUES ('none')"], { begin: true }))["error"],
    ).toBeUndefined();
    expect(
      (await client.tx(eu, "t2", ["INSERT INTO t VALUES ('eu')"], { begin: true }))["error"],
    ).toBeUndefined();
    expect((await client.tx(eu, "t1", [{ commit: true }]))["error"]).toMatchObject({
      kind: "bad_request",
      message: "this tx was begun on another database",
    });
    await client.tx(none, "t1", [{ rollback: true }]);
    await client.tx(eu, "t2", [{ commit: true }]);
    expect(await client.column(none, "SELECT place FROM t")).toEqual([]);
    expect(await client.column(eu, "SELECT place FROM t")).toEqual(["eu"]);
    client.close();
  });

  test("keys, outcomes, sizes and erasures are each object's own", async () => {
    const client = await Client.open();
    const [none, eu] = ["do:test/keys-placed", "do:test/keys-placed@eu"];
    const key = `${"a".repeat(32)}:7`;
    const write = { op: "batch", key, steps: [{ sql: "CREATE TABLE made (id)" }] };
    const outcome = async (db: string): Promise<unknown> => {
      const { results } = (await client.ask({ op: "outcome", db, key })) as {
        results: { rows: unknown[][] }[];
      };
      return results[0]?.rows;
    };
    await client.ask({ ...write, db: eu });
    expect([await outcome(eu), await outcome(none)]).toEqual([[["done"]], [["none"]]]);
    expect(await client.ask({ op: "size", db: eu })).toMatchObject({ results: [{ columns: ["size"] }] });
    await client.batch(none, "DROP TABLE _do_bridge_keys");
    expect(await client.ask({ op: "erase", db: none })).toMatchObject({ results: [{ rows: [[1]] }] });
    expect(await client.ask({ op: "erase", db: eu })).toMatchObject({ results: [{ rows: [[0]] }] });
    expect(await client.column(eu, "SELECT name FROM sqlite_master WHERE name = 'made'")).toEqual(["made"]);
    client.close();
  });

  test("a relay of one jurisdiction refuses every request for another, and serves on", async () => {
    const client = await Client.open(upgradeWith({ JURISDICTION: "eu" }));
    const steps = [{ sql: "CREATE TABLE outside (id)" }];
    for (const db of ["do:test/served", "do:test/served@us"]) {
      for (const request of [
        { op: "batch", db, steps },
        { op: "size", db },
        { op: "erase", db },
        { op: "outcome", db, key: `${"a".repeat(32)}:1` },
        { op: "tx", db, tx: "t1", begin: true, steps },
        { op: "tx", db, tx: "t1", steps: [{ commit: true }] },
      ]) {
        const { error, results } = await client.ask(request);
        expect(error).toMatchObject({ kind: "forbidden", effect: "none" });
        expect(results).toBeUndefined();
      }
    }
    expect((await client.batch("do:test/served@eu", "CREATE TABLE t (id)"))["error"]).toBeUndefined();
    const any = await Client.open();
    for (const db of ["do:test/served", "do:test/served@us"])
      expect(await any.column(db, "SELECT name FROM sqlite_master WHERE name = 'outside'")).toEqual([]);
    client.close();
    any.close();
  });

  test("a relay of one jurisdiction compares its tokens with an object of that jurisdiction", async () => {
    const access = vi.spyOn(Tenant.prototype, "access");
    const client = await Client.open(upgradeWith({ JURISDICTION: "eu", SESSION_CHECK_SECONDS: 0.001 }));
    const db = "do:test/doorkeeper@eu";
    // The clock moves while the object works.
    for (let n = 0; access.mock.calls.length === 0 && n < 100; n += 1)
      expect(await client.column(db, "SELECT 1")).toEqual([1]);
    expect(access.mock.contexts[0]).toBeInstanceOf(TenantEu);
    expect(await client.column(db, "SELECT 2")).toEqual([2]);
    access.mockRestore();
    client.close();
  });
});
