// The relay with objects that keep a history, as production's do and local ones do not: a stand-in for the
// platform's point-in-time recovery, with exactly its documented interface. It has jurisdictions, too.
// https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api

import relay from "../src/index";
import { Tenant as Base } from "./internal-tables";
import { placedIn, withJurisdictions } from "./jurisdictions";
import { fetchLagging } from "./lagging";

type Row = SqlStorageValue[];

/** Everything that an object held at one moment: tables with their rows, then what must not act on those. */
interface Snapshot {
  tables: { name: string; sql: string; columns: string[]; rows: Row[] }[];
  late: string[];
  counters: Row[];
}

/** A moment of the history; `n` grows, so bookmarks can be compared as the platform's can. */
interface Moment {
  n: number;
  time: number;
}

interface Pending {
  target: number;
  undo: number;
}

const OWN = "name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'";
/** So many moments are kept, as the platform keeps 30 days. */
const KEPT = 200;
const EMPTY: Snapshot = { tables: [], late: [], counters: [] };
const BOOKMARK = /^([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{8}-([0-9a-f]{32})$/;

export class Tenant extends Base {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    // A history costs a copy of everything for each change: an attack wants it of its own objects alone.
    const { HISTORY_OF = "" } = env as Env & { HISTORY_OF?: string };
    if (!(ctx.id.name ?? "").startsWith(HISTORY_OF)) return;
    const history = new History(ctx.storage);
    void ctx.blockConcurrencyWhile(async () => {
      history.restorePending();
    });
  }
}

export const TenantEu = placedIn("eu", Tenant);
export const TenantUs = placedIn("us", Tenant);
export const TenantFedramp = placedIn("fedramp", Tenant);
export const TenantFedrampHigh = placedIn("fedramp-high", Tenant);

/** The history of an object, in its own key-value storage, which a restore here leaves alone. */
class History {
  readonly #storage: DurableObjectStorage;
  readonly #transactionSync: DurableObjectStorage["transactionSync"];
  #depth = 0;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#transactionSync = storage.transactionSync.bind(storage);
    const transaction = storage.transaction.bind(storage);
    const deleteAll = storage.deleteAll.bind(storage);
    Object.assign(storage, {
      deleteAll: async () => {
        const kept = [...storage.kv.list()];
        await deleteAll();
        for (const [key, value] of kept) storage.kv.put(key, value);
        this.#note();
      },
      getCurrentBookmark: async () => this.#bookmarkOf(this.#note()),
      getBookmarkForTime: async (time: number | Date) => this.#bookmarkOf(this.#at(Number(time))),
      onNextSessionRestoreBookmark: async (bookmark: string) => this.#arm(bookmark),
      transactionSync: <T>(work: () => T): T => {
        this.#depth += 1;
        try {
          return this.#transactionSync(work);
        } finally {
          this.#leave();
        }
      },
      transaction: async <T>(work: (txn: DurableObjectTransaction) => Promise<T>): Promise<T> => {
        this.#depth += 1;
        try {
          return await transaction(work);
        } finally {
          this.#leave();
        }
      },
    });
  }

  restorePending(): void {
    const pending = this.#storage.kv.get<Pending>("pending");
    if (pending === undefined) return;
    const target = pending.target === 0 ? EMPTY : this.#storage.kv.get<Snapshot>(`moment ${pending.target}`);
    this.#transactionSync(() => {
      this.#keep(pending.undo);
      this.#rebuild(target ?? EMPTY);
      this.#keep(pending.undo + 1);
      this.#storage.kv.delete("pending");
    });
  }

  #leave(): void {
    this.#depth -= 1;
    if (this.#depth === 0) this.#note();
  }

  #moments(): Moment[] {
    return this.#storage.kv.get<Moment[]>("moments") ?? [];
  }

  /** Notes what the object holds now; returns the moment's number. */
  #note(): number {
    const n = (this.#moments().at(-1)?.n ?? 0) + 1;
    this.#keep(n);
    return n;
  }

  #keep(n: number): void {
    this.#storage.kv.put(`moment ${n}`, this.#read());
    const moments = [...this.#moments(), { n, time: Date.now() }];
    for (const old of moments.splice(0, moments.length - KEPT)) this.#storage.kv.delete(`moment ${old.n}`);
    this.#storage.kv.put("moments", moments);
  }

  #at(time: number): number {
    const moments = this.#moments();
    const found = moments.findLast((moment) => moment.time <= time)?.n ?? 0;
    if (found === 0 && (moments[0]?.n ?? 1) > 1) throw new Error("The moment is too long ago.");
    return found;
  }

  #arm(bookmark: string): string {
    const [, digits, id] = BOOKMARK.exec(bookmark) ?? [];
    if (id !== this.#id()) throw new Error("Invalid bookmark.");
    const target = Number.parseInt(digits ?? "", 16);
    const last = this.#moments().at(-1)?.n ?? 0;
    const isKept = target === 0 || this.#moments().some(({ n }) => n === target);
    if (!isKept || target > last) throw new Error("Invalid bookmark.");
    const undo = last + 1;
    this.#storage.kv.put<Pending>("pending", { target, undo });
    return this.#bookmarkOf(undo);
  }

  #bookmarkOf(n: number): string {
    const hex = n.toString(16).padStart(8, "0");
    return `${hex}-${hex}-00004e2f-${this.#id()}`;
  }

  /** No two objects have bookmarks in common. */
  #id(): string {
    const { kv } = this.#storage;
    if (kv.get("id") === undefined) kv.put("id", crypto.randomUUID().replaceAll("-", ""));
    return String(kv.get("id"));
  }

  #read(): Snapshot {
    const { sql } = this.#storage;
    const tables = [
      ...sql.exec<{ name: string; sql: string }>(
        `SELECT name, sql FROM sqlite_master WHERE type = 'table' AND ${OWN} ORDER BY rowid`,
      ),
    ].map((table) => {
      const rows = sql.exec(`SELECT * FROM ${quote(table.name)}`);
      return { ...table, columns: rows.columnNames, rows: [...rows.raw()] as Row[] };
    });
    const late = sql.exec<{ sql: string }>(
      `SELECT sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL AND ${OWN} ORDER BY rowid`,
    );
    const counts = [...sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")].length > 0;
    const counters = counts ? ([...sql.exec("SELECT name, seq FROM sqlite_sequence").raw()] as Row[]) : [];
    return { tables, late: [...late].map((one) => one.sql), counters };
  }

  #rebuild({ tables, late, counters }: Snapshot): void {
    const { sql } = this.#storage;
    sql.exec("PRAGMA defer_foreign_keys = on");
    const names = sql.exec<{ type: string; name: string }>(
      `SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND ${OWN}`,
    );
    for (const { type, name } of names.toArray()) sql.exec(`DROP ${type} ${quote(name)}`);
    for (const table of tables) sql.exec(table.sql);
    for (const { name, columns, rows } of tables) {
      const into = `${quote(name)} (${columns.map(quote).join(", ")})`;
      const values = columns.map(() => "?").join(", ");
      for (const row of rows) sql.exec(`INSERT INTO ${into} VALUES (${values})`, ...row);
    }
    for (const text of late) sql.exec(text);
    for (const [name, seq] of counters) {
      sql.exec("DELETE FROM sqlite_sequence WHERE name = ?", name);
      sql.exec("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", name, seq);
    }
  }
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** With the variable LAGGING the D1 databases have a replica that lags, too: an attack wants all at once. */
export default {
  fetch: (request, env) => {
    const all = withJurisdictions(env);
    return "LAGGING" in env ? fetchLagging(request, all) : relay.fetch(request, all);
  },
} satisfies ExportedHandler<Env>;
