// The relay Worker: authenticated sessions in front of the tenants' objects and the bound D1 databases.

import { accessOf, isSecret, shownToken, type Scope } from "./auth";
import { MAX_REQUEST_BYTES, SUBPROTOCOL } from "./protocol";
import { Session, type SessionLimits } from "./session";
import { PACKAGE_VERSION, PROTOCOL } from "./version";

/** Below the 10,000 subrequests that an invocation may make, with room for open transactions to finish. */
const DEFAULT_SESSION_SUBREQUESTS = 9000;

/** Below the 1,000 statements that D1 runs for an invocation: developers.cloudflare.com/d1/platform/limits */
const DEFAULT_SESSION_D1_QUERIES = 900;

/** Half of `limits.cpu_ms`, because it is an estimate. */
const DEFAULT_SESSION_CPU_MS = 30_000;

/** How long a session lives. */
const DEFAULT_SESSION_SECONDS = 3600;

/** How long a session outlives a deploy without its token, after the time that a busy object keeps its code. */
const DEFAULT_SESSION_CHECK_SECONDS = 60;

/** How long an object waits for the next batch: 100 ms of waiting cost as much as a request to it. */
const DEFAULT_CALL_HOLD_MS = 50;

export { Tenant } from "./tenant";

export default {
  async fetch(request, env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return health(env);
    const shown = await shownToken(request);
    const access = await accessOf(shown, env);
    if (access === "unconfigured")
      return refuse(503, "the Worker has no RELAY_TOKEN secret of 32 characters or more");
    if (access === "denied" || shown === null)
      return refuse(401, "a valid bearer token is required", { "www-authenticate": "Bearer" });
    if (pathname !== "/v1/session") return refuse(404, "no such path");
    return openSession(request, env, access, shown);
  },
} satisfies ExportedHandler<Env>;

function health(env: Env): Response {
  if (isSecret(env.RELAY_TOKEN)) {
    return Response.json({
      ok: true,
      version: env.RELAY_VERSION,
      package: PACKAGE_VERSION,
      protocol: PROTOCOL,
      jurisdiction: env.JURISDICTION,
    });
  }
  return Response.json({ ok: false, missing: ["RELAY_TOKEN"] }, { status: 503 });
}

function openSession(request: Request, env: Env, scope: Scope, shown: ArrayBuffer): Response {
  if (request.headers.get("Upgrade")?.toLowerCase() !== "websocket") {
    return refuse(426, "this path needs a WebSocket", { upgrade: "websocket" });
  }
  const offered = request.headers.get("Sec-WebSocket-Protocol") ?? "";
  if (!offered.split(",").some((name) => name.trim() === SUBPROTOCOL)) {
    return refuse(400, `the subprotocol must be ${SUBPROTOCOL}`);
  }
  const { 0: client, 1: server } = new WebSocketPair();
  const limits = sessionLimits(env, scope);
  new Session(server, env, limits, shown).start();
  const headers = {
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
    "do-bridge-session-limit": String(limits.subrequests),
    "do-bridge-keys": "1",
    "do-bridge-places": "1",
    "do-bridge-session-seconds": String(limits.seconds),
    "do-bridge-max-message": String(MAX_REQUEST_BYTES),
  };
  return new Response(null, { status: 101, webSocket: client, headers });
}

function sessionLimits(env: Env, scope: Scope): SessionLimits {
  return {
    scope,
    subrequests: positive(env.SESSION_SUBREQUESTS, DEFAULT_SESSION_SUBREQUESTS),
    d1Queries: positive(env.SESSION_D1_QUERIES, DEFAULT_SESSION_D1_QUERIES),
    cpuMs: positive(env.SESSION_CPU_MS, DEFAULT_SESSION_CPU_MS),
    seconds: positive(env.SESSION_MAX_SECONDS, DEFAULT_SESSION_SECONDS),
    checkSeconds: positive(env.SESSION_CHECK_SECONDS, DEFAULT_SESSION_CHECK_SECONDS),
    // Zero is a valid value: every call ends with its answer.
    holdMs: Number(env.CALL_HOLD_MS) === 0 ? 0 : positive(env.CALL_HOLD_MS, DEFAULT_CALL_HOLD_MS),
  };
}

/** A variable that is not a positive number must not remove a limit. */
function positive(variable: unknown, otherwise: number): number {
  const value = Number(variable);
  return value > 0 ? value : otherwise;
}

function refuse(status: number, error: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error }, { status, headers });
}
