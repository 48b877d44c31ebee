// Lets in only who shows the relay's token.

export type Access = "granted" | "denied" | "unconfigured";

/** Checks the bearer token of a request against the secret; without a secret nobody gets in. */
export async function checkAccess(request: globalThis.Request, secret: string | undefined): Promise<Access> {
  if (!secret) return "unconfigured";
  const [, token] = /^Bearer ([^\s]+)$/.exec(request.headers.get("Authorization") ?? "") ?? [];
  if (token === undefined) return "denied";
  return (await sameText(token, secret)) ? "granted" : "denied";
}

/** Compares in a time that tells nothing: digests have one length, whatever the length of the texts. */
export async function sameText(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([digest(one), digest(other)]);
  return crypto.subtle.timingSafeEqual(first, second);
}

function digest(text: string): Promise<ArrayBuffer> {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
