// Bundles editor.js into the static files; `npm ci` here and in worker/ first. `--out <file>` writes elsewhere.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = new URL("./", import.meta.url);
// The one that wrangler brings.
const { build } = createRequire(new URL("../../../worker/package.json", here))("esbuild");
const lock = JSON.parse(readFileSync(new URL("package-lock.json", here)));
const parts = Object.entries(lock.packages)
  .filter(([path, { license }]) => path && license === "MIT")
  .map(([path, { version }]) => `${path.replace("node_modules/", "")} ${version}`);
const asked = process.argv.indexOf("--out");

await build({
  absWorkingDir: fileURLToPath(here),
  entryPoints: ["editor.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  outfile: asked > 0 ? process.argv[asked + 1] : "../static/do_bridge/inspection/editor.js",
  banner: {
    js: `/* Made by do_bridge/inspection/editor/build.mjs. Contains, under the MIT licence (Marijn Haverbeke and others): ${parts.join(", ")}. */`,
  },
});
