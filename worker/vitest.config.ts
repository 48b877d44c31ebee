// Runs the tests inside the Workers runtime, on the Worker's own configuration.

import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

declare const process: { env: Record<string, string | undefined> };

// Wrangler asks for the secrets that its configuration names before the tests' own bindings are there.
for (const suffix of ["_PREVIOUS", "_TENANTS", "_TENANTS_PREVIOUS", "_DIRECTORY", "_DIRECTORY_PREVIOUS"]) {
  process.env[`RELAY_TOKEN${suffix}`] = "unset";
}
process.env["RELAY_TOKEN"] = "a-token-for-tests-of-the-relay-00";

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.jsonc" },
    }),
  ],
  test: { include: ["test/**/*.test.ts"], testTimeout: 15_000 },
});
