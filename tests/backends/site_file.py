"""A database file as Django's own sqlite3 engine makes it, with what ours does not have."""

import sqlite3
from contextlib import closing

DEFERRED = "DEFERRABLE INITIALLY DEFERRED"
SCHEMA = f"""
CREATE TABLE "django_migrations" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "app" varchar(255) NOT NULL, "name" varchar(255) NOT NULL, "applied" datetime NOT NULL);
CREATE TABLE "django_content_type" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "app_label" varchar(100) NOT NULL, "model" varchar(100) NOT NULL);
CREATE TABLE "accounts_user" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "username" varchar(150) NOT NULL);
CREATE TABLE "shop_line" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "order_id" bigint NOT NULL REFERENCES "shop_order" ("id") {DEFERRED}, "note" text NOT NULL);
CREATE TABLE "shop_order" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "last_line_id" bigint NULL REFERENCES "shop_line" ("id") {DEFERRED}, "place" varchar(50) NOT NULL UNIQUE);
CREATE TABLE "shop_category" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "parent_id" bigint NULL REFERENCES "shop_category" ("id") {DEFERRED}, "name" varchar(50) NOT NULL);
CREATE TABLE "shop_product" ("id" char(32) NOT NULL PRIMARY KEY, "price" decimal NOT NULL,
    "sold" bool NOT NULL,
    "added" datetime NULL, "data" text NOT NULL CHECK ((JSON_VALID("data") OR "data" IS NULL)),
    "image" BLOB NULL,
    "stock" integer unsigned NULL CHECK ("stock" >= 0), "ratio" real NULL,
    "shout" varchar(50) GENERATED ALWAYS AS (UPPER("data")) STORED,
    "half" real GENERATED ALWAYS AS ("price" / 2) VIRTUAL,
    "category_id" bigint NULL REFERENCES "shop_category" ("id") {DEFERRED},
    CONSTRAINT "stocked" CHECK ("stock" < 1000000));
CREATE TABLE "shop_product_tags" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "product_id" char(32) NOT NULL REFERENCES "shop_product" ("id") {DEFERRED},
    "category_id" bigint NOT NULL REFERENCES "shop_category" ("id") {DEFERRED});
CREATE TABLE "gone_app" ("key" varchar(9) NOT NULL PRIMARY KEY, "100% text" text);
CREATE INDEX "shop_product_category_id" ON "shop_product" ("category_id");
CREATE UNIQUE INDEX "shop_tags_once" ON "shop_product_tags" ("product_id", "category_id");
CREATE INDEX "shop_product_sold" ON "shop_product" ("added" DESC) WHERE "sold";
CREATE INDEX "applied_app" ON "django_migrations" ("app");
CREATE VIEW "shop_sold" AS SELECT "id" FROM "shop_product" WHERE "sold";
CREATE TRIGGER "noted" AFTER INSERT ON "shop_product" BEGIN INSERT INTO "gone_app" VALUES (NEW."id", ''); END;
INSERT INTO "django_migrations" ("app", "name", "applied") VALUES ('shop', '0001_initial', '2020-01-01'),
    ('accounts', '0001_initial', '2020-01-01'), ('blog', '0001_initial', '2020-01-01');
INSERT INTO "django_content_type" ("app_label", "model") VALUES ('shop', 'product');
INSERT INTO "shop_order" VALUES (1, NULL, 'Here'), (2, NULL, 'There');
INSERT INTO "shop_line" VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 1, 'three');
UPDATE "shop_order" SET "last_line_id" = 4 - "id";
INSERT INTO "shop_category" VALUES (1, 3, 'child'), (2, NULL, 'root'), (3, 2, 'middle');
INSERT INTO "gone_app" VALUES ('a', 'per cent'), ('b', NULL);
INSERT INTO "shop_order" VALUES (90, NULL, 'Last');
DELETE FROM "shop_order" WHERE "id" = 90;
"""
PRODUCTS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})
INSERT INTO "shop_product" ("id", "price", "sold", "added", "data", "image", "stock", "ratio", "category_id")
SELECT printf('%032x', i), i / 100.0, i % 2, '2024-01-01 10:00:00.' || printf('%06d', i),
    json_object('n', i, 'text', printf('%.*c', {size}, 'ä')), CASE WHEN i % 5 = 0 THEN x'00010203FF' END,
    i, i * 0.1, i % 3 + 1 FROM n
"""
# What other programs, and older versions of Django, leave behind.
ODD = """
UPDATE "shop_product" SET "price" = '1.50', "sold" = 't' WHERE "stock" = 1;
UPDATE "shop_product" SET "price" = '123456789012345678901234567890.12', "sold" = 7 WHERE "stock" = 2;
UPDATE "shop_product" SET "price" = 'NaN', "sold" = '', "added" = '' WHERE "stock" = 3;
UPDATE "shop_product" SET "added" = 1700000000, "ratio" = 9e999, "image" = x'' WHERE "stock" = 4;
UPDATE "shop_product" SET "ratio" = 'text', "data" = '9007199254740993' WHERE "stock" = 5;
INSERT INTO "shop_product_tags" ("product_id", "category_id") SELECT "id", "stock" % 3 + 1
    FROM "shop_product";
"""


def write(path, *statements, count=40, size=100):
    """Make the file of `count` products, whose texts have `size` characters; `statements` are run last."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA foreign_keys = off")
        file.executescript(SCHEMA)
        file.execute(PRODUCTS.format(count=count, size=size))
        file.executescript(ODD)
        file.execute("""DELETE FROM "gone_app" WHERE "key" NOT IN ('a', 'b')""")
        for sql in statements:
            file.execute(sql)
        file.commit()
    return path


def tables(path):
    """Return the names of the file's tables."""
    with closing(sqlite3.connect(path)) as file:
        sql = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence' ORDER BY name"
        )
        return [name for (name,) in file.execute(sql)]


def rows(execute, table):
    """Return every row of a table with its values' types, as `execute(sql)` reads them."""
    columns = [row[1] for row in execute(f"SELECT * FROM pragma_table_xinfo('{table}')")]
    shown = ", ".join(f'typeof("{name}"), "{name}"' for name in columns)
    return execute(f'SELECT {shown} FROM "{table}" ORDER BY rowid')


def content(path):
    """Return {table: rows} of a file."""
    with closing(sqlite3.connect(path)) as file:
        return {name: rows(lambda sql: file.execute(sql).fetchall(), name) for name in tables(path)}
