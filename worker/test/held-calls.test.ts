// The call that is held open, by itself: when it begins and ends, and what becomes of the work of one that breaks.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { HeldCalls, type NextBatch } from "../src/held-calls";
import type { Place } from "../src/placement";
import type { Answer } from "../src/protocol";
import type { BatchCall } from "../src/tenant";

interface Call {
  name: string;
  batches: number;
  ended: boolean;
  break: (error: Error) => void;
}

let calls: Call[];
let held: HeldCalls;
/** Answers are given at once, unless a test holds them back. */
let gate: Promise<void>;
/** How long the end of a call takes to be heard of. */
let closing: Promise<void>;

/** An object that answers the number of its call and of the batch in it. */
async function serve(_place: Place, first: BatchCall, next: NextBatch): Promise<void> {
  const broken = Promise.withResolvers<never>();
  const call: Call = { name: first.name, batches: 0, ended: false, break: broken.reject };
  const number = calls.push(call);
  let batch: BatchCall | null = first;
  while (batch !== null) {
    await Promise.race([gate, broken.promise]);
    call.batches += 1;
    batch = await Promise.race([next({ results: [`${number}.${call.batches}`] }), broken.promise]);
  }
  call.ended = true;
  await closing;
}

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  gate = closing = Promise.resolve();
  held = new HeldCalls(serve, 50);
});

afterEach(() => vi.useRealTimers());

async function run(name = "a", jurisdiction?: string): Promise<string | Answer["error"]> {
  const answer = await held.batch({ name, jurisdiction }, { steps: [] });
  return answer.error ?? answer.results[0];
}

test("batches that follow each other share a call, and a pause ends it", async () => {
  expect([await run(), await run()]).toEqual(["1.1", "1.2"]);
  await vi.advanceTimersByTimeAsync(49);
  expect(await run()).toBe("1.3");
  await vi.advanceTimersByTimeAsync(50);
  expect(calls.map(({ ended }) => ended)).toEqual([true]);
  expect(vi.getTimerCount()).toBe(0);
  expect(await run()).toBe("2.1");
});

test("without a hold a call ends with its answer", async () => {
  held = new HeldCalls(serve, 0);
  expect(await run()).toBe("1.1");
  await vi.advanceTimersByTimeAsync(0);
  expect(calls.map(({ ended }) => ended)).toEqual([true]);
  expect(await run()).toBe("2.1");
});

test("a call is not used for ever, and gives back what waits behind its last batch", async () => {
  await run();
  vi.setSystemTime(Date.now() + 1000);
  expect(await Promise.all([run(), run(), run()])).toEqual(["1.2", "2.1", "2.2"]);
  expect(calls[0]?.ended).toBe(true);
});

test("a closed session lets its objects go at once, leaves no timer and runs nothing more", async () => {
  await Promise.all([run("a"), run("b")]);
  held.close();
  await vi.advanceTimersByTimeAsync(0);
  expect(calls.map(({ ended }) => ended)).toEqual([true, true]);
  expect(vi.getTimerCount()).toBe(0);
  expect(await run()).toMatchObject({ kind: "reset", effect: "none" });
});

test("a session that closes while a batch runs hands over none of those behind it", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  const answers = [run(), run()];
  held.close();
  resolve();
  expect(await Promise.all(answers)).toMatchObject(["1.1", { kind: "reset", effect: "none" }]);
  expect(calls).toMatchObject([{ batches: 1, ended: true }]);
  expect(vi.getTimerCount()).toBe(0);
});

test("a call that breaks while it waits costs nobody anything", async () => {
  await run();
  calls[0]?.break(new Error("Network connection lost."));
  await vi.advanceTimersByTimeAsync(0);
  expect(vi.getTimerCount()).toBe(0);
  expect(await run()).toBe("2.1");
});

test("of a call that breaks in a batch only that batch is unknown; those behind it run on a new call", async () => {
  await run();
  gate = new Promise(() => {});
  const answers = [run(), run(), run()];
  await vi.advanceTimersByTimeAsync(0);
  gate = Promise.resolve();
  calls[0]?.break(new Error("Network connection lost."));
  expect(await Promise.all(answers)).toMatchObject([{ kind: "retry", effect: "unknown" }, "2.1", "2.2"]);
  expect(calls[0]?.batches).toBe(1);
});

test("an overloaded object has turned away a call's first batch, and may have run a later one", async () => {
  gate = new Promise(() => {});
  const overloaded = Object.assign(new Error("Durable Object is overloaded."), { overloaded: true });
  const first = run();
  calls[0]?.break(overloaded);
  expect(await first).toMatchObject({ kind: "overloaded", effect: "none" });
  gate = Promise.resolve();
  await run();
  gate = new Promise(() => {});
  const later = run();
  await vi.advanceTimersByTimeAsync(0);
  calls[1]?.break(overloaded);
  expect(await later).toMatchObject({ kind: "overloaded", effect: "unknown" });
});

test("of 100 objects used in turn the last two are kept waiting, and no more", async () => {
  for (let number = 0; number < 100; number += 1) {
    await run(`t${number}`);
    expect(calls.filter(({ ended }) => !ended).length).toBeLessThanOrEqual(3);
  }
  await vi.advanceTimersByTimeAsync(0);
  expect(calls.filter(({ ended }) => !ended).map(({ name }) => name)).toEqual(["t98", "t99"]);
  expect([await run("t98"), await run("t99")]).toEqual(["99.2", "100.2"]);
});

test("100 objects used at once are all answered, and two of them kept waiting", async () => {
  const answers = await Promise.all(
    calls.length === 0 ? Array.from({ length: 100 }, (_, n) => run(`t${n}`)) : [],
  );
  expect(new Set(answers).size).toBe(100);
  await vi.advanceTimersByTimeAsync(0);
  expect(calls.filter(({ ended }) => !ended)).toHaveLength(2);
  expect(vi.getTimerCount()).toBe(2);
});

test("batches keep their order when a call ends by its age while some wait", async () => {
  await run();
  vi.setSystemTime(Date.now() + 1000);
  const order: string[] = [];
  const note = (name: string) => () => order.push(name);
  const { promise, resolve } = Promise.withResolvers<void>();
  closing = promise;
  const first = run().then(note("first"));
  const second = run().then(note("second"));
  await first;
  const third = run().then(note("third"));
  resolve();
  await Promise.all([second, third]);
  expect(order).toEqual(["first", "second", "third"]);
});
