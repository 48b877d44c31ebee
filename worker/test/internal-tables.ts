// The relay with objects that have a table of the runtime's own, as production's have: the tests' Workers run it.

import relay from "../src/index";
import { Tenant as Base } from "../src/tenant";

export class Tenant extends Base {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    // The runtime keeps a key in a table `_cf_KV`, which no statement may touch.
    ctx.storage.kv.put("internal", 1);
  }
}

export default relay;
