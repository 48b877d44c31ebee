// Where the objects are: their jurisdiction, and a hint for those that are made.

import type { Tenant } from "./tenant";

/** An object's id depends on the jurisdiction, so another one finds other objects, without their data. */
export function stubOf(env: Env, name: string): DurableObjectStub<Tenant> {
  // A deployment sets them to other texts than the configuration's.
  const jurisdiction: unknown = env.JURISDICTION;
  const hint: unknown = env.LOCATION_HINT;
  const all = env.TENANTS;
  const objects = isSet(jurisdiction) ? all.jurisdiction(jurisdiction as DurableObjectJurisdiction) : all;
  // The hint counts for an object that does not exist yet.
  return isSet(hint)
    ? objects.getByName(name, { locationHint: hint as DurableObjectLocationHint })
    : objects.getByName(name);
}

function isSet(variable: unknown): variable is string {
  return typeof variable === "string" && variable !== "";
}
