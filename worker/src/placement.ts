// Where the objects are: the jurisdiction that their names carry, and a hint for those that do not exist yet.
// https://developers.cloudflare.com/durable-objects/reference/data-location/

import type { Failure, ObjectDatabase } from "./protocol";
import type { Tenant } from "./tenant";

/** An object, and where to create it if it does not exist. */
export interface Place {
  name: string;
  /** An object's id depends on it, so another jurisdiction has other objects, with other data. */
  jurisdiction: string | undefined;
  location?: string | undefined;
}

/** The one jurisdiction that this relay serves; undefined if it serves any. */
export function servedJurisdiction(env: Env): string | undefined {
  return text(env.JURISDICTION);
}

/** Why an object may not be called, or cannot be found; null if it can. Nothing is called. */
export function placementRefusal(env: Env, { jurisdiction }: ObjectDatabase): Failure | null {
  const served = servedJurisdiction(env);
  if (served !== undefined && jurisdiction !== served) return outside(served, jurisdiction);
  try {
    objectsIn(env, jurisdiction);
  } catch (error) {
    // The local runtime has no jurisdictions, and the platform may not have this one.
    const reason = error instanceof Error ? error.message : "the runtime threw something other than an error";
    const message = `the runtime has no objects in the jurisdiction ${jurisdiction}: ${reason}`;
    return { kind: "unsupported", message, effect: "none" };
  }
  return null;
}

/** A stub of the object. Throws if the runtime does not have the jurisdiction: see `placementRefusal`. */
export function stubOf(env: Env, { name, jurisdiction, location }: Place): DurableObjectStub<Tenant> {
  const objects = objectsIn(env, jurisdiction);
  // The relay's own hint applies only to objects in no jurisdiction.
  const hint = location ?? (jurisdiction === undefined ? text(env.LOCATION_HINT) : undefined);
  return hint === undefined
    ? objects.getByName(name)
    : objects.getByName(name, { locationHint: hint as DurableObjectLocationHint });
}

function objectsIn(env: Env, jurisdiction: string | undefined): DurableObjectNamespace<Tenant> {
  const all = env.TENANTS;
  return jurisdiction === undefined ? all : all.jurisdiction(jurisdiction as DurableObjectJurisdiction);
}

function outside(served: string, asked: string | undefined): Failure {
  const what =
    asked === undefined ? "an object in no jurisdiction" : `an object in the jurisdiction ${asked}`;
  const message = `this relay serves the jurisdiction ${served} alone (JURISDICTION), and was asked for ${what}`;
  return { kind: "forbidden", message, effect: "none" };
}

/** The value of a variable; undefined if it is empty, as in the configuration without a deployment. */
function text(variable: unknown): string | undefined {
  return typeof variable === "string" && variable !== "" ? variable : undefined;
}
