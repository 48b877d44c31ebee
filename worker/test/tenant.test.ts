// The object itself: it serves its own name alone.

import { env, exports } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";

import type { Statement } from "../src/protocol";

const steps = [{ type: "statement" as const, sql: "SELECT 1 AS a", params: [], count: false, meter: false }];

test("an object refuses a call for another name", async () => {
  const stub = env.TENANTS.getByName("tenant/acme");
  await runInDurableObject(stub, async (tenant) => {
    expect(() => tenant.batch({ name: "tenant/other", steps })).toThrow("another object's name");
    const pull = (): Promise<null> => Promise.resolve(null);
    const call = { name: "tenant/other", leaseMs: 1000, steps };
    await expect(tenant.interact(call, pull)).rejects.toThrow("another object's name");
    const next = (): Promise<null> => Promise.resolve(null);
    await expect(tenant.serve({ name: "tenant/other", steps }, next)).rejects.toThrow(
      "another object's name",
    );
    const key = { client: "0".repeat(32), n: 1 };
    expect(() => tenant.outcome("tenant/other", key)).toThrow("another object's name");
    expect(() => tenant.access("tenant/other", new ArrayBuffer(32))).toThrow("another object's name");
    await expect(tenant.erase("tenant/other")).rejects.toThrow("another object's name");
    expect(() => tenant.size("tenant/other")).toThrow("another object's name");
    expect(tenant.batch({ name: "tenant/acme", steps }).results).toHaveLength(1);
  });
});

test("an object reached by no name refuses every call", async () => {
  const stub = env.TENANTS.get(env.TENANTS.newUniqueId());
  await runInDurableObject(stub, (tenant) => {
    expect(() => tenant.batch({ name: "tenant/acme", steps })).toThrow("another object's name");
  });
});

test("an object of the tests has a table of the runtime's own, which no statement may look into", async () => {
  const stub = env.TENANTS.getByName("tenant/internal");
  await runInDurableObject(stub, (tenant, { storage }) => {
    expect([...storage.sql.exec("SELECT name FROM sqlite_master").raw()]).toContainEqual(["_cf_KV"]);
    const look = "SELECT count(*) FROM sqlite_master m, pragma_table_xinfo(m.name)";
    const answer = tenant.batch({
      name: "tenant/internal",
      steps: [{ ...steps[0], sql: look } as Statement],
    });
    expect(answer.error?.message).toContain("not authorized");
  });
});

test("the Worker exports its object", () => {
  expect(exports.Tenant).toBeDefined();
});
