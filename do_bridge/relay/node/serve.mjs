// Runs Workers on Miniflare, as `wrangler dev` does, without wrangler: node serve.mjs TOOLS PORT STATE SECRETS CONFIG...
// The first configuration is the one that answers. Each start costs a third of the time of wrangler's.

import { readFileSync } from "node:fs";
import path from "node:path";

import { bundle, fromWrangler } from "./bundle.mjs";

const [tools, port, state, secretsFile, ...configFiles] = process.argv.slice(2);

function secrets() {
    const lines = readFileSync(secretsFile, "utf8").split("\n").filter(Boolean);
    return Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
}

async function script(config, folder) {
    const main = path.resolve(folder, config.main);
    return config.no_bundle ? readFileSync(main, "utf8") : await bundle(tools, main);
}

async function worker(configFile) {
    const config = JSON.parse(readFileSync(configFile, "utf8"));
    const sqlite = (config.migrations ?? []).flatMap((migration) => migration.new_sqlite_classes ?? []);
    return {
        name: config.name,
        modules: [
            {
                type: "ESModule",
                path: "index.js",
                contents: await script(config, path.dirname(path.resolve(configFile))),
            },
        ],
        compatibilityDate: config.compatibility_date,
        compatibilityFlags: config.compatibility_flags ?? [],
        bindings: { ...config.vars, ...secrets() },
        d1Databases: Object.fromEntries(
            (config.d1_databases ?? []).map((one) => [one.binding, one.database_id]),
        ),
        durableObjects: Object.fromEntries(
            (config.durable_objects?.bindings ?? []).map((one) => [
                one.name,
                {
                    className: one.class_name,
                    scriptName: one.script_name,
                    useSQLite: sqlite.includes(one.class_name),
                },
            ]),
        ),
    };
}

try {
    const { Log, LogLevel, Miniflare, convertV4MiniflareOptions } = fromWrangler(tools)("miniflare");
    const options = {
        host: "127.0.0.1",
        port: Number(port),
        cf: false,
        log: new Log(LogLevel.INFO),
        resourcePersistencePath: path.join(state, "v3"),
        unsafeLocalExplorer: true,
        workers: await Promise.all(configFiles.map(worker)),
    };
    const miniflare = new Miniflare(convertV4MiniflareOptions(options));
    for (const signal of ["SIGINT", "SIGTERM"]) {
        process.on(signal, () => miniflare.dispose().finally(() => process.exit(0)));
    }
    await miniflare.ready;
} catch (error) {
    console.error(error);
    process.exit(1);
}
