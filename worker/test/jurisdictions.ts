// A stand-in for the platform's jurisdictions, which the local runtime does not have: tests/production.py runs it.
//
// `env.TENANTS` has the interface that Cloudflare documents: `jurisdiction(name)` returns a namespace whose objects
// are others than those of the same names elsewhere, and `ctx.id.jurisdiction` is the object's own.
// Each jurisdiction is a class and a binding here: `TENANTS_EU` holds the objects of "eu".
// https://developers.cloudflare.com/durable-objects/reference/data-location/
// https://developers.cloudflare.com/changelog/post/2026-03-26-durable-object-id-jurisdiction/

import relay from "../src/index";
import { Tenant } from "./internal-tables";

type Objects = DurableObjectNamespace<Tenant>;

/** The class of the objects in a jurisdiction, which differ from the others' by their ids. */
export function placedIn(jurisdiction: string, Base: typeof Tenant): typeof Tenant {
  return class extends Base {
    constructor(ctx: DurableObjectState, env: Env) {
      super(ctx, env);
      Object.defineProperty(ctx.id, "jurisdiction", { value: jurisdiction });
    }
  };
}

export const TenantEu = placedIn("eu", Tenant);
export const TenantUs = placedIn("us", Tenant);
export const TenantFedramp = placedIn("fedramp", Tenant);
export const TenantFedrampHigh = placedIn("fedramp-high", Tenant);

export { Tenant };

const BINDINGS = new Map([
  ["eu", "TENANTS_EU"],
  ["us", "TENANTS_US"],
  ["fedramp", "TENANTS_FEDRAMP"],
  ["fedramp-high", "TENANTS_FEDRAMP_HIGH"],
]);

/** The environment, but with a namespace that has jurisdictions. */
export function withJurisdictions(env: Env): Env {
  // A Worker for D1 alone.
  if ((env.TENANTS as Objects | undefined) === undefined) return env;
  const find = (jurisdiction?: string | null): Objects => {
    if (jurisdiction === undefined || jurisdiction === null) return placed(env.TENANTS, find);
    const objects: unknown = Reflect.get(env, BINDINGS.get(jurisdiction) ?? "");
    if (objects === undefined) throw new TypeError("Invalid jurisdiction");
    return placed(objects as Objects, find);
  };
  return Object.create(env, { TENANTS: { value: placed(env.TENANTS, find) } }) as Env;
}

/** A namespace of the runtime's, but with another method `jurisdiction`. */
function placed(objects: Objects, find: (jurisdiction?: string | null) => Objects): Objects {
  return new Proxy(objects, {
    get(target, key) {
      if (key === "jurisdiction") return find;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

export default {
  fetch: (request, env) => relay.fetch(request, withJurisdictions(env)),
} satisfies ExportedHandler<Env>;
