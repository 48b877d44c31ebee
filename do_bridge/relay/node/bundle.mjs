// Bundles a Worker into one file: node bundle.mjs TOOLS ENTRY OUTPUT. TOOLS is a folder with wrangler's node_modules.

import { realpathSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

/** The `require` of wrangler itself, because other packages beside it may bring other versions. */
export function fromWrangler(tools) {
    return createRequire(path.resolve(tools, "node_modules", "wrangler", "package.json"));
}

export async function bundle(tools, entry) {
    const esbuild = fromWrangler(tools)("esbuild");
    const built = await esbuild.build({
        absWorkingDir: path.dirname(path.resolve(entry)),
        bundle: true,
        conditions: ["workerd", "worker", "browser"],
        entryPoints: [path.resolve(entry)],
        external: ["cloudflare:*", "node:*"],
        format: "esm",
        keepNames: true,
        logLevel: "silent",
        target: "es2024",
        write: false,
    });
    return built.outputFiles[0].text;
}

if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
    const [tools, entry, output] = process.argv.slice(2);
    writeFileSync(output, await bundle(tools, entry));
}
