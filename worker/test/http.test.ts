// Paths, tokens and the opening of a session.

import { describe, expect, test } from "vitest";

import worker from "../src/index";
import { PACKAGE_VERSION, PROTOCOL } from "../src/version";
import { request, TOKEN, upgrade } from "./client";

describe("without its secret the Worker", () => {
  const env = { RELAY_TOKEN: "" } as Env;
  const call = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    worker.fetch(new Request(`http://relay.test${path}`, { headers }), env);

  test("tells at /healthz what is missing", async () => {
    const response = await call("/healthz");
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ ok: false, missing: ["RELAY_TOKEN"] });
  });

  test("serves no session, not even to an empty token", async () => {
    const response = await call("/v1/session", { Authorization: "Bearer ", Upgrade: "websocket" });
    expect(response.status).toBe(503);
  });

  test("serves no other path", async () => {
    expect((await call("/")).status).toBe(503);
  });
});

test("health needs no token", async () => {
  const response = await request("/healthz");
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({
    ok: true,
    version: "local",
    package: PACKAGE_VERSION,
    protocol: PROTOCOL,
    jurisdiction: "",
  });
});

test.each([
  ["no token", {}],
  ["a wrong token of the same length", { Authorization: `Bearer ${"x".repeat(TOKEN.length)}` }],
  ["a shorter token", { Authorization: "Bearer a" }],
  ["a longer token", { Authorization: `Bearer ${TOKEN}${TOKEN}` }],
  ["an empty token", { Authorization: "Bearer " }],
  ["another scheme", { Authorization: `Basic ${TOKEN}` }],
  ["a token with something behind it", { Authorization: `Bearer ${TOKEN} x` }],
])("%s is refused on every path", async (_name, headers: Record<string, string>) => {
  for (const path of ["/v1/session", "/", "/healthz/", "/v2/session"]) {
    const response = await request(path, { Upgrade: "websocket", ...headers });
    expect(response.status).toBe(401);
    expect(await response.text()).not.toContain(TOKEN);
  }
});

test("an unknown path is told only to who has the token", async () => {
  expect((await request("/v2/session", { Authorization: `Bearer ${TOKEN}` })).status).toBe(404);
});

test("a session opens with its limits in the headers", async () => {
  const response = await upgrade();
  expect(response.status).toBe(101);
  expect(response.headers.get("Sec-WebSocket-Protocol")).toBe("do-bridge.v1");
  expect(response.headers.get("do-bridge-session-limit")).toBe("9000");
  expect(response.headers.get("do-bridge-max-message")).toBe(String(16 * 1024 * 1024));
  response.webSocket?.accept();
  response.webSocket?.close();
});

test("another subprotocol is refused", async () => {
  expect((await upgrade({ "Sec-WebSocket-Protocol": "do-bridge.v2" })).status).toBe(400);
  expect((await upgrade({ "Sec-WebSocket-Protocol": "" })).status).toBe(400);
});

test("one subprotocol among several is enough", async () => {
  const response = await upgrade({ "Sec-WebSocket-Protocol": "do-bridge.v2, do-bridge.v1" });
  expect(response.status).toBe(101);
  response.webSocket?.accept();
  response.webSocket?.close();
});

test("a plain request to the session's path is told to upgrade", async () => {
  const response = await request("/v1/session", { Authorization: `Bearer ${TOKEN}` });
  expect(response.status).toBe(426);
});
