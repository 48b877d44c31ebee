// Which tokens are let in, what each of them reaches, and how long a session lives.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { accessOf, shownToken, type Access, type Secrets } from "../src/auth";
import { Tenant } from "../src/tenant";
import { Client, TOKEN, transactionFrame, upgradeWith } from "./client";

const D1 = "d1:d0b41d9e-0000-4000-8000-000000000004";
const OTHER = "another-token-of-32-characters-00";

async function access(token: string, secrets: Secrets): Promise<Access> {
  const headers = { Authorization: `Bearer ${token}` };
  return accessOf(await shownToken(new Request("http://relay.test/", { headers })), secrets);
}

test.each([undefined, "", "unset", TOKEN.slice(0, 31), `${TOKEN} `, `${TOKEN}é`])(
  "%j is no secret: nobody gets in by it, and without another one there is no service",
  async (secret) => {
    // An absent secret is undefined in the runtime, whatever its type says.
    expect(await access(secret ?? "undefined", { RELAY_TOKEN: secret } as Secrets)).toBe("unconfigured");
    const scoped = {
      RELAY_TOKEN: OTHER,
      RELAY_TOKEN_PREVIOUS: secret,
      RELAY_TOKEN_TENANTS: secret,
    } as Secrets;
    expect(await access(secret?.replaceAll(" ", "") ?? "undefined", scoped)).toBe("denied");
  },
);

test("a scoped token alone opens no service", async () => {
  expect(await access(OTHER, { RELAY_TOKEN_TENANTS: OTHER })).toBe("unconfigured");
});

test.each([
  ["RELAY_TOKEN_PREVIOUS", "all"],
  ["RELAY_TOKEN_TENANTS", "tenants"],
  ["RELAY_TOKEN_TENANTS_PREVIOUS", "tenants"],
  ["RELAY_TOKEN_DIRECTORY", "directory"],
  ["RELAY_TOKEN_DIRECTORY_PREVIOUS", "directory"],
])("%s is let in beside RELAY_TOKEN, for %s", async (name, scope) => {
  const secrets = { RELAY_TOKEN: TOKEN, [name]: OTHER };
  expect(await access(OTHER, secrets)).toBe(scope);
  expect(await access(TOKEN, secrets)).toBe("all");
  expect(await access(OTHER, { RELAY_TOKEN: TOKEN })).toBe("denied");
  for (const near of [OTHER.slice(0, -1), `${OTHER}0`, OTHER.toUpperCase(), OTHER + TOKEN]) {
    expect(await access(near, secrets)).toBe("denied");
  }
});

test.each([
  ["the first secret", TOKEN],
  ["the last one", OTHER],
  ["none", "x".repeat(40)],
  ["none, and far shorter", "x"],
])("a token that is %s is compared with as many digests as any other", async (_name, token) => {
  const secrets = { RELAY_TOKEN: TOKEN, RELAY_TOKEN_TENANTS: "y".repeat(32), RELAY_TOKEN_DIRECTORY: OTHER };
  const compare = vi.spyOn(crypto.subtle, "timingSafeEqual");
  await access(token, secrets);
  const sizes = compare.mock.calls.map(([shown, secret]) => [shown.byteLength, secret.byteLength]);
  compare.mockRestore();
  expect(sizes).toEqual([
    [32, 32],
    [32, 32],
    [32, 32],
  ]);
});

describe("a token for one kind of database", () => {
  const steps = [{ sql: "CREATE TABLE IF NOT EXISTS outside (id)" }];

  test.each([
    ["RELAY_TOKEN_TENANTS", "do:test/scope/own", D1, "objects (do:)"],
    ["RELAY_TOKEN_DIRECTORY", D1, "do:test/scope/other", "D1 (d1:)"],
  ])("%s reaches %s and nothing else", async (name, own, other, told) => {
    const client = await Client.open(upgradeWith({ [name]: OTHER }, OTHER));
    expect(await client.column(own, "SELECT 1")).toEqual([1]);
    expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
    for (const request of [
      { op: "batch", db: other, steps },
      { op: "size", db: other },
      transactionFrame(other, "t1", [...steps, { commit: true }], { begin: true }),
      transactionFrame(other, "t1", [{ commit: true }]),
    ]) {
      const { error, results } = await client.ask(request);
      expect(error).toMatchObject({ kind: "forbidden", effect: "none" });
      expect((error as { message: string }).message).toContain(told);
      expect(results).toBeUndefined();
    }
    const whole = await Client.open();
    expect(await whole.column(other, "SELECT name FROM sqlite_master WHERE name = 'outside'")).toEqual([]);
  });
});

test("a session past its time begins nothing more, and lets an open transaction finish", async () => {
  const response = await upgradeWith({ SESSION_MAX_SECONDS: 0.4 });
  expect(response.headers.get("do-bridge-session-seconds")).toBe("0.4");
  const client = await Client.open(Promise.resolve(response));
  const db = "do:test/limit/age";
  await client.batch(db, "CREATE TABLE t (id)");
  await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
  const begun = Date.now();
  let refused = await client.ask({ op: "size", db: D1 });
  while (refused["error"] === undefined && Date.now() - begun < 5000)
    refused = await client.ask({ op: "size", db: D1 });
  const other = { op: "batch", db: "do:test/limit/age-2", steps: [{ sql: "SELECT 1" }] };
  for (const answer of [refused, await client.ask(other), await client.tx(db, "t2", [], { begin: true })]) {
    expect(answer["error"]).toMatchObject({ kind: "session_limit", effect: "none" });
  }
  const committed = await client.tx(db, "t1", ["INSERT INTO t VALUES (2)", { commit: true }]);
  expect(committed["error"]).toBeUndefined();
  const next = await Client.open();
  expect(await next.column(db, "SELECT count(*) FROM t")).toEqual([2]);
});

describe("a session long past its time", () => {
  let client: Client;

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    client = await Client.open(upgradeWith({ SESSION_MAX_SECONDS: 1 }));
  });

  afterEach(() => vi.useRealTimers());

  test("is closed", async () => {
    vi.advanceTimersByTime(1100);
    expect(await client.closed).toMatchObject({ code: 1001, reason: "the session's time is over" });
  });

  test("is closed once its open transaction has ended", async () => {
    const db = "do:test/limit/closed";
    await client.tx(db, "t1", ["CREATE TABLE t (id)"], { begin: true });
    vi.advanceTimersByTime(1100);
    expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
    expect((await client.tx(db, "t1", [{ commit: true }]))["error"]).toBeUndefined();
    expect(await client.closed).toMatchObject({ code: 1001 });
  });
});

describe("a session whose token was taken away by a deploy", () => {
  const db = "do:test/tokens/deployed";
  // A session keeps the secrets with which it began; the objects have those of the Worker deployed last: TOKEN alone.
  const former = { RELAY_TOKEN: OTHER, SESSION_CHECK_SECONDS: 60 };

  beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  test("runs nothing new, rolls back what is open, and is closed", async () => {
    const client = await Client.open(upgradeWith(former, OTHER));
    await client.batch(db, "CREATE TABLE t (id)");
    vi.advanceTimersByTime(59_000);
    const begun = await client.tx(db, "t1", ["INSERT INTO t VALUES (1)"], { begin: true });
    expect(begun["error"]).toBeUndefined();
    vi.advanceTimersByTime(1000);
    const refused = await client.tx(db, "t1", [{ commit: true }]);
    expect(refused["error"]).toMatchObject({ kind: "session_limit", effect: "ended" });
    expect(await client.closed).toMatchObject({
      code: 1008,
      reason: "the session's token is no longer valid",
    });
    const next = await Client.open();
    expect(await next.column(db, "SELECT count(*) FROM t")).toEqual([0]);
  });

  test("reaches D1 no longer either", async () => {
    const client = await Client.open(upgradeWith(former, OTHER));
    expect((await client.batch(D1, "SELECT 1"))["error"]).toBeUndefined();
    vi.advanceTimersByTime(60_000);
    expect((await client.batch(D1, "SELECT 1"))["error"]).toMatchObject({ kind: "session_limit" });
  });

  test("ends also where the token opens something else now", async () => {
    const scoped = { ...former, RELAY_TOKEN_TENANTS: TOKEN };
    const client = await Client.open(upgradeWith(scoped, TOKEN));
    vi.advanceTimersByTime(60_000);
    expect((await client.batch(db, "SELECT 1"))["error"]).toMatchObject({ kind: "session_limit" });
  });

  test("goes on where the token is still there", async () => {
    const client = await Client.open(upgradeWith({ SESSION_CHECK_SECONDS: 60, SESSION_SUBREQUESTS: 4 }));
    for (let minutes = 0; minutes < 2; minutes += 1) {
      vi.advanceTimersByTime(60_000);
      expect((await client.batch(db, "SELECT 1"))["error"]).toBeUndefined();
    }
    // Each comparison is a subrequest, too.
    expect((await client.batch(db, "SELECT 1"))["error"]).toMatchObject({ kind: "session_limit" });
    expect(await client.ask({ op: "ping" })).toEqual({ results: [] });
  });

  test("goes on to the end of its time where nobody can be asked", async () => {
    vi.spyOn(Tenant.prototype, "access").mockRejectedValue(new Error("Network connection lost."));
    const client = await Client.open(upgradeWith(former, OTHER));
    vi.advanceTimersByTime(60_000);
    expect((await client.batch(db, "SELECT 1"))["error"]).toBeUndefined();
  });
});

test.each(["", "0", "soon"])(
  "a maximum of %j seconds is none that can be meant: the default holds",
  async (value) => {
    const response = await upgradeWith({ SESSION_MAX_SECONDS: value });
    expect(response.headers.get("do-bridge-session-seconds")).toBe("3600");
    response.webSocket?.accept();
    response.webSocket?.close();
  },
);
