"""Makes frames for the relay: good ones, and good ones spoilt in their values, shape or bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from do_bridge.relay import bundle

CASES = Path(bundle.SOURCE) / "test" / "protocol-cases.json"
Frame = dict[str, Any]

NAMES = ("__proto__", "constructor", "toString", "hasOwnProperty", "prototype", "valueOf", "__defineGetter__")
WEIRD: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None,
    lambda rng: rng.choice([True, False]),
    lambda rng: rng.choice([0, -1, 1.5, 2**53, 2**63, -(2**70), 1e308, 5e-324, 100, 25_000, 99]),
    lambda rng: rng.choice(
        ["", " ", "\0", "\ud800", "\udfff\ud800", "💥" * 50, "é", "\u202e", "../..", "%2e%2e"]
    ),
    lambda rng: rng.choice(NAMES),
    lambda rng: "x" * rng.choice([63, 64, 65, 256, 257, 257, 5_000] + [100_000] * (rng.random() < 0.02)),
    lambda rng: nested(rng.choice([2, 50, 300]), rng.choice([list, dict])),
    lambda _: [],
    lambda _: {},
    lambda _: {"__proto__": {"isAdmin": True}, "length": 3, "0": "a"},
    lambda rng: [rng.choice([None, 1, "a", [], {}])] * rng.choice([1, 3, 30]),
    lambda rng: rng.choice(
        ["do:", "d1:", "do:..", "do:a/b/c/d/e", "do:A", "do:a//b", "do:-a", "dx:a", "d1:__proto__"]
        + ["do:a@", "do:a@eu@us", "do:a@EU", "do:@eu", "do:a@constructor", "d1:a@eu", "do:own@eu"]
    ),
)
SQL = (
    "SELECT 1",
    "SELECT 1, 1, 1 AS a, 2 AS a",
    "SELECT * FROM own LIMIT 20",
    "INSERT INTO own (v) VALUES (?1)",
    "INSERT OR ROLLBACK INTO own VALUES (1, 1), (1, 1)",
    "INSERT OR IGNORE INTO own VALUES (1, 1)",
    "UPDATE own SET v = substr(v || 'x', 1, 50) WHERE id < 20 RETURNING *",
    "DELETE FROM own WHERE id > 50",
    "CREATE TABLE IF NOT EXISTS child (id REFERENCES own (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO child VALUES (987654)",
    "DELETE FROM child",
    "DROP TABLE IF EXISTS child",
    "ALTER TABLE own RENAME COLUMN v TO v",
    "PRAGMA defer_foreign_keys = on",
    "PRAGMA foreign_keys",
    "PRAGMA writable_schema = on",
    "PRAGMA journal_mode = delete",
    "PRAGMA table_list",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ATTACH 'x.db' AS x",
    "VACUUM INTO 'x.db'",
    "DELETE FROM sqlite_master",
    "SELECT * FROM _cf_KV",
    "INSERT INTO _cf_METADATA VALUES (1, 2)",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT 1; SELECT 2; -- three",
    "SELECT 'a",
    "/* open",
    "SELECT \0",
    "SELECT ?1, ?2, ?99",
    "SELECT ?32767",
    "SELECT " + ", ".join(map(str, range(101))),
    "SELECT " + "(" * 150 + "1" + ")" * 150,
    " UNION ALL ".join(["SELECT 1"] * 7),
    "SELECT 1 WHERE 'a' LIKE '" + "%a" * 60 + "'",
    "SELECT randomblob(10000)",
    "SELECT zeroblob(300000)",
    "SELECT length(printf('%.*c', 3000000, 'x'))",
    "SELECT json_extract('{}', 'bad')",
    "SELECT 9007199254740993, 9e999, -9e999, 0.1, x'00ff', NULL",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT max(i) FROM n",
    "EXPLAIN QUERY PLAN SELECT * FROM own",
    "SELECT * FROM pragma_table_info('own')",
    "",
    ";",
)


def nested(depth: int, kind: type) -> Any:
    """A list or an object inside itself, so many levels deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def sample_frames() -> list[Frame]:
    """Every request of the protocol's wire examples."""
    cases = json.loads(CASES.read_text())
    return [item["send"] for case in cases for item in case["exchange"] if "send" in item]


def statement(rng: random.Random) -> Frame:
    """A statement of the list, with parameters or without."""
    step: Frame = {"sql": rng.choice(SQL)}
    if rng.random() < 0.4:
        step["params"] = [
            rng.choice(["1", "", "é\ud83d", "\0", "x" * 3000]) for _ in range(rng.choice([0, 1, 2, 101]))
        ]
    if rng.random() < 0.3:
        step["count"] = rng.choice([True, False])
    return step


def spoil_value(frame: Frame, rng: random.Random) -> Frame:
    """Replace, remove or add a field somewhere in the frame."""
    spots: list[tuple[Any, Any]] = []
    left: list[Any] = [frame]
    while left:
        value = left.pop()
        pairs = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inner in list(pairs):
            spots.append((value, key))
            left.append(inner)
    # What is repeated inside what is repeated grows beyond any use.
    if not 0 < len(spots) < 2_000:
        return frame
    parent, key = rng.choice(spots)
    action = rng.random()
    if action < 0.6:
        parent[key] = rng.choice(WEIRD)(rng)
    elif action < 0.75:
        del parent[key]
    elif isinstance(parent, dict):
        parent[
            rng.choice([*NAMES, "commit", "savepoint", "sql", "expect", "begin", "meter", "key", "again"])
        ] = rng.choice(WEIRD)(rng)
    else:
        parent.extend(parent * rng.choice([1, 2, 20]) if len(parent) < 5 else [None])
    return frame


def spoil_text(text: str, rng: random.Random) -> str:
    """Cut, flip, repeat or wrap the text of a frame."""
    at = rng.randrange(len(text) + 1)
    other = rng.randrange(len(text) + 1)
    return rng.choice(
        [
            text[:at],
            text[at:],
            text[:at] + rng.choice('{}[]",:\\\0\n\ufeff0e-') + text[at + 1 :],
            text[:at] + text[at : at + 20] + text[at:],
            text[: min(at, other)] + text[max(at, other) :],
            text + text,
            f"[{text}]",
            "\ufeff" + text,
            text.replace('"db":', '"db":"do:a","db":', 1),
            text.replace('"id":', '"id":7,"id":', 1),
            text.replace("{", '{"__proto__":{"op":"ping"},', 1),
            text.replace(":", " :\t\n", 2),
            text.replace('"op"', '"\\u006fp"'),
        ]
    )


def noise(rng: random.Random) -> str:
    """A frame that was never one."""
    return rng.choice(
        [
            lambda: "",
            lambda: "[" * rng.choice([10, 1_000, 10_000] + [200_000] * (rng.random() < 0.02)),
            lambda: '{"a":' * rng.choice([10, 1_000, 10_000]),
            lambda: json.dumps(nested(500, list)),
            lambda: "".join(chr(rng.choice([rng.randrange(128), rng.randrange(0xD7FF)])) for _ in range(60)),
            lambda: rng.choice(["null", "1", '"ping"', "NaN", "-0", "1e999", "true", "{}", "[]", " ", "\0"]),
            lambda: json.dumps({"id": rng.choice([1, 2, "1", None, -1, 0, 1.5, 2**53, [1]]), "op": "ping"}),
            lambda: "9" * 5_000,
            lambda: '{"id":1,"op":"' + "p" * 3_000 + '"}',
        ]
    )()
