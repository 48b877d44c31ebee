// The object itself: it serves its own name alone.

import { env, exports } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";

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

test("the Worker exports its object", () => {
  expect(exports.Tenant).toBeDefined();
});
