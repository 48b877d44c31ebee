// The wire examples that the driver's tests read too.

import { expect, test } from "vitest";

import { Client } from "./client";
import cases from "./protocol-cases.json";

interface Item {
  /** A request to be sent, or the text of a frame that is none. */
  send?: Record<string, unknown>;
  text?: string;
  /** The next frame that must come. */
  expect?: Record<string, unknown>;
}

const listed: { name: string; exchange: Item[] }[] = cases;

test.each(listed.map(({ name, exchange }) => [name, exchange] as const))("%s", async (_name, exchange) => {
  const client = await Client.open();
  for (const item of exchange) {
    if (item.send !== undefined) client.sendText(JSON.stringify(item.send));
    if (item.text !== undefined) client.sendText(item.text);
    if (item.expect !== undefined) expect(await client.receive()).toEqual(item.expect);
  }
  client.close();
});

test("the examples have names of their own", () => {
  expect(new Set(listed.map(({ name }) => name)).size).toBe(listed.length);
});
