// Runs the tests inside the Workers runtime, on the Worker's own configuration.

import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.jsonc" },
      miniflare: { bindings: { RELAY_TOKEN: "a-token-for-tests" } },
    }),
  ],
  test: { include: ["test/**/*.test.ts"], testTimeout: 15_000 },
});
