// Lets in only clients that send one of the relay's tokens, and decides which databases that token opens.

import type { Database, Request } from "./protocol";

/** The databases that a token reaches: all, the objects alone, or D1 alone. */
export type Scope = "all" | "tenants" | "directory";

export type Access = Scope | "denied" | "unconfigured";

/** The secrets that hold tokens, by name; without RELAY_TOKEN the Worker refuses every request. */
export type Secrets = Partial<Record<TokenName, string>>;

const TOKENS = [
  ["RELAY_TOKEN", "all"],
  ["RELAY_TOKEN_PREVIOUS", "all"],
  ["RELAY_TOKEN_TENANTS", "tenants"],
  ["RELAY_TOKEN_TENANTS_PREVIOUS", "tenants"],
  ["RELAY_TOKEN_DIRECTORY", "directory"],
  ["RELAY_TOKEN_DIRECTORY_PREVIOUS", "directory"],
] as const satisfies [string, Scope][];

type TokenName = (typeof TOKENS)[number][0];

/** Printable, so that a header can carry it, and too long to guess; any other text is not used as a secret. */
const SECRET = /^[\x21-\x7e]{32,}$/;

export function isSecret(text: string | undefined): text is string {
  return text !== undefined && SECRET.test(text);
}

/** The digest of a request's bearer token; null without one. */
export function shownToken(request: globalThis.Request): Promise<ArrayBuffer> | null {
  const [, token] = /^Bearer ([^\s]+)$/.exec(request.headers.get("Authorization") ?? "") ?? [];
  return token === undefined ? null : digest(token);
}

/** What a token opens, by its digest from `shownToken`; nothing if RELAY_TOKEN is not a valid one. */
export async function accessOf(shown: ArrayBuffer | null, secrets: Secrets): Promise<Access> {
  if (!isSecret(secrets.RELAY_TOKEN)) return "unconfigured";
  if (shown === null) return "denied";
  let access: Access = "denied";
  // All of them, whichever matches, so that the time taken does not reveal which.
  for (const [name, scope] of TOKENS) {
    const secret = secrets[name];
    const same = isSecret(secret) && crypto.subtle.timingSafeEqual(shown, await digest(secret));
    if (same && access === "denied") access = scope;
  }
  return access;
}

/** Why a session with this scope may not reach a database; null if it may. */
export function scopeRefusal(scope: Scope, { kind }: Database): string | null {
  if (scope === "tenants" && kind === "d1") return "the session's token is only for objects (do:)";
  if (scope === "directory" && kind === "do") return "the session's token is only for D1 (d1:)";
  return null;
}

/** Why a session with this scope may not send such a request; null if it may. */
export function operationRefusal(scope: Scope, op: Request["op"]): string | null {
  if (scope === "all" || (op !== "bookmark" && op !== "restore")) return null;
  return "bookmarks need the token RELAY_TOKEN";
}

/** Digests have one length, whatever the length of the texts, so that comparing them reveals nothing. */
function digest(text: string): Promise<ArrayBuffer> {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
