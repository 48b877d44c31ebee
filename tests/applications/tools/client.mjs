// @libsql/client and drizzle-orm against `relay studio`: values, batches, interactive transactions.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The packages are elsewhere, and `import` does not read NODE_PATH.
const require = createRequire(`${process.env.NODE_PATH}/`);
const { createClient } = require("@libsql/client/http");
const { drizzle } = require("drizzle-orm/libsql");
const { integer, sqliteTable, text } = require("drizzle-orm/sqlite-core");

const url = process.env.DATABASE_URL;
const authToken = process.env.DATABASE_AUTH_TOKEN;
const client = createClient({ url, authToken, intMode: "bigint" });

await client.execute("CREATE TABLE plays (id INTEGER PRIMARY KEY, n INTEGER, b BLOB, t TEXT UNIQUE)");
const big = 2n ** 63n - 1n;
await client.execute({ sql: "INSERT INTO plays (n, b, t) VALUES (?, ?, ?)", args: [big, new Uint8Array([0, 255]), "ü"] });
let rows = (await client.execute("SELECT n, b, t FROM plays")).rows;
assert.equal(rows[0].n, big);
assert.deepEqual([...new Uint8Array(rows[0].b)], [0, 255]);

// A batch is all or nothing.
const second = { sql: "INSERT INTO plays (t) VALUES (:t)", args: { t: "two" } };
await client.batch([second, "SELECT 1"], "write");
await assert.rejects(client.batch(["DELETE FROM plays", second, second], "write"), /UNIQUE/);
assert.equal((await client.execute("SELECT count(*) AS c FROM plays")).rows[0].c, 2n);

// An interactive transaction rolls back.
const transaction = await client.transaction("write");
await transaction.execute("DELETE FROM plays");
assert.equal((await transaction.execute("SELECT count(*) AS c FROM plays")).rows[0].c, 0n);
await transaction.rollback();
assert.equal((await client.execute("SELECT count(*) AS c FROM plays")).rows[0].c, 2n);
await client.executeMultiple("DELETE FROM plays WHERE t = 'two'; SELECT 1;");

const plays = sqliteTable("plays", { id: integer("id").primaryKey(), t: text("t") });
const database = drizzle(createClient({ url, authToken }));
await database.insert(plays).values({ t: "by drizzle" });
assert.deepEqual(
  (await database.select({ t: plays.t }).from(plays).orderBy(plays.id)).map((row) => row.t),
  ["ü", "by drizzle"],
);
await client.execute("DROP TABLE plays");
await assert.rejects(createClient({ url, authToken: "wrong" }).execute("SELECT 1"), /UNAUTHORIZED/);
