// Where objects are: the local runtime has no jurisdictions, so a fake namespace records what it is asked for.

import { expect, test } from "vitest";

import { stubOf } from "../src/placement";

function fake(variables: Record<string, string>): { env: Env; calls: unknown[][] } {
  const calls: unknown[][] = [];
  const namespace = {
    getByName: (...given: unknown[]) => calls.push(["getByName", ...given]),
    jurisdiction: (name: string) => {
      calls.push(["jurisdiction", name]);
      return namespace;
    },
  };
  return { env: { TENANTS: namespace, ...variables } as unknown as Env, calls };
}

test.each([
  [{}, [["getByName", "tenant/a"]]],
  [{ JURISDICTION: "", LOCATION_HINT: "" }, [["getByName", "tenant/a"]]],
  [{ LOCATION_HINT: "weur" }, [["getByName", "tenant/a", { locationHint: "weur" }]]],
  [
    { JURISDICTION: "eu" },
    [
      ["jurisdiction", "eu"],
      ["getByName", "tenant/a"],
    ],
  ],
])("an object of a fake namespace is looked for where %j says", (variables, expected) => {
  const { env, calls } = fake(variables);
  stubOf(env, "tenant/a");
  expect(calls).toEqual(expected);
});
