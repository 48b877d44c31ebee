// The object's table of metadata, which clients write: its schema's fingerprint, and the leases' fencing token.

const TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_do_bridge_meta'";
const READ = "SELECT value FROM _do_bridge_meta WHERE key = ?";

/** The value of a key; "" if the object has none, or no such table. */
export function readMeta(sql: SqlStorage, key: string): string {
  if (sql.exec(TABLE).toArray().length === 0) return "";
  const [row] = sql.exec<{ value: SqlStorageValue }>(READ, key).toArray();
  return typeof row?.value === "string" ? row.value : "";
}

/** A value's leading number, as in "<fencing token> <owner>"; 0 if there is none. */
export function readNumber(sql: SqlStorage, key: string): number {
  return Number.parseInt(readMeta(sql, key), 10) || 0;
}
