// Runs the tests inside the Workers runtime, on the Worker's own configuration.

import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

declare const process: { env: Record<string, string | undefined> };

const secrets: Record<string, string> = { RELAY_TOKEN: "a-token-for-tests-of-the-relay-00" };
for (const suffix of ["_PREVIOUS", "_TENANTS", "_TENANTS_PREVIOUS", "_DIRECTORY", "_DIRECTORY_PREVIOUS"]) {
  secrets[`RELAY_TOKEN${suffix}`] = "unset";
}
// Wrangler asks for the secrets that its configuration names before the tests' own bindings are there.
Object.assign(process.env, secrets);
/** The objects of each jurisdiction: see test/jurisdictions.ts. */
const durableObjects = Object.fromEntries(
  ["Eu", "Us", "Fedramp", "FedrampHigh"].map((name) => [
    `TENANTS${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    { className: `Tenant${name}`, useSQLite: true },
  ]),
);
// Production's heap.
process.env["MINIFLARE_WORKERD_V8_FLAGS"] = "--max-heap-size=128";

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.jsonc" },
      main: "./test/jurisdictions.ts",
      // Once more: a .dev.vars, which running the Worker makes, goes before the environment.
      miniflare: { bindings: secrets, durableObjects },
    }),
  ],
  test: { include: ["test/**/*.test.ts"], testTimeout: 15_000 },
});
