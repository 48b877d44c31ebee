"""Fixtures of the depot's models, and the stock sqlite3 engine that says what comes of them."""

from __future__ import annotations

import copy
import datetime
import io
import json
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from engine_aliases import remove_alias


@contextmanager
def stock_sqlite3(path: Path) -> Any:
    """A connection of Django's own sqlite3 engine, under the alias "stock"."""
    settings = copy.deepcopy(connections.settings[DEFAULT_DB_ALIAS])
    settings.update(ENGINE="django.db.backends.sqlite3", NAME=str(path), OPTIONS={}, HOST="", PASSWORD="")
    connections.settings["stock"] = settings
    try:
        yield connections["stock"]
    finally:
        remove_alias("stock")


def make_tables(connection: Any) -> None:
    from depot.models import ALL

    with connection.schema_editor() as editor:
        for model in ALL:
            editor.create_model(model)


def contents(alias: str) -> dict[str, list[Any]]:
    """Every row of every table, links with their keys.

    Symmetrical links come without: of each object in turn Django takes some away again, and uses up keys.
    """
    from depot.models import ALL, Friend

    models = [*ALL, *(f.remote_field.through for model in ALL for f in model._meta.local_many_to_many)]
    found = {}
    for model in models:
        names = [field.attname for field in model._meta.local_concrete_fields]
        names = names[1:] if model is Friend.friends.through else names
        rows = model._base_manager.using(alias).order_by(*names[:2]).values_list(*names)
        found[model._meta.label] = [
            tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows
        ]
    return found


def load(alias: str, path: Path, **options: Any) -> tuple[str, str]:
    """Run loaddata; return (what it wrote, the class and the text of its error)."""
    out = io.StringIO()
    try:
        call_command("loaddata", str(path), database=alias, stdout=out, **options)
    except Exception as error:
        return out.getvalue(), f"{type(error).__name__}: {error}"
    return out.getvalue(), ""


def record(model: str, pk: Any = None, **fields: Any) -> dict[str, Any]:
    found = {"model": f"depot.{model}", "pk": pk, "fields": fields}
    if pk is None:
        del found["pk"]
    return found


class Shapes:
    """Makes random fixtures of the depot's models; the same seed makes the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def fixture(self) -> list[dict[str, Any]]:
        """Objects in an order that has references to earlier and later ones, and some objects twice."""
        chance = self._random
        authors, tags = self._keys(5), self._keys(6)
        records = [self._author(key, authors) for key in authors]
        records += [record("tag", key, name=f"t{key}") for key in tags]
        records += [self._article(key, authors, tags) for key in self._keys(12)]
        cities = self._keys(4)
        records += [record("country", code, name=code * 2) for code in "abc"]
        records += [record("city", key, name=f"c{key}", country=chance.choice("abc")) for key in cities]
        places = self._keys(5)
        records += [record("place", key, name=f"p{key}", city=chance.choice(cities)) for key in places]
        bars = places[:3]
        records += [record("bar", key, stars=key, guests=self._some(authors)) for key in bars]
        visits = self._keys(5)
        records += [record("visit", key, bar=chance.choice(bars), day="2024-02-29") for key in visits]
        friends = self._keys(5)
        records += [record("friend", key, name=f"f{key}", friends=self._some(friends)) for key in friends]
        records += [record("coded", key, code=f"x{key}") for key in self._keys(3)]
        records += [record("seat", [key, "a"], taken=True) for key in self._keys(3)]
        records += [record("counted", key, second=key) for key in self._keys(2)]
        records += [record("counted", key + 20, first=1, second=key) for key in self._keys(2)]
        if chance.random() < 0.8:
            chance.shuffle(records)
        records += [copy.deepcopy(chance.choice(records)) for _ in range(3)]
        return records

    def natural(self) -> list[dict[str, Any]]:
        """Objects without keys, that refer to each other by natural ones."""
        chance = self._random
        names = [f"n{number}" for number in range(6)]
        records = [record("country", code) for code in "abc"]
        records += [
            record("author", name=name, boss=[chance.choice(names)] if chance.random() < 0.6 else None)
            for name in names
        ]
        records += [record("tag", name=name) for name in names]
        chance.shuffle(records)
        records += [record("city", name=name, country=[chance.choice("abc")]) for name in names]
        late = [
            record(
                "article",
                title=f"a{number}",
                author=[chance.choice(names)],
                tags=[[name] for name in self._some(names)],
            )
            for number in range(8)
        ]
        for each in late:
            records.insert(chance.randrange(len(records)), each)
        return records

    def _keys(self, count: int) -> list[int]:
        return self._random.sample(range(1, 3 * count), count)

    def _some(self, values: list[Any]) -> list[Any]:
        return self._random.sample(values, self._random.randrange(min(4, len(values))))

    def _author(self, key: int, authors: list[int]) -> dict[str, Any]:
        boss = self._random.choice([None, *authors])
        return record(self._random.choice(["author", "boss"]), key, name=f"a{key}", boss=boss)

    def _article(self, key: int, authors: list[int], tags: list[int]) -> dict[str, Any]:
        chance = self._random
        moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=key * 997)
        return record(
            "article",
            key,
            author=chance.choice([None, *authors]),
            title=chance.choice(["", "é", "%s", "a'b", "x\x00y", "\U0001f600"]),
            body=chance.choice(["", "b" * 3000]),
            moment=chance.choice([None, moment.isoformat()]),
            number=chance.choice([None, key, 2**62 + key]),
            price=chance.choice([None, "12.50"]),
            ratio=chance.choice([None, 0.1, 5.0, 1e300]),
            extra=chance.choice([None, {"a": [1, None]}, "text", 5]),
            data=chance.choice([None, "AP8=", ""]),
            span=chance.choice([None, "P1DT00H00M05S"]),
            lent=chance.choice([None, True, False]),
            tags=self._some(tags),
        )


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records))
    return path


def names(engine: Any, model: Any) -> list[str]:
    """The names in a model's table."""
    return list(model.objects.using(engine.alias).order_by("pk").values_list("name", flat=True))


def tags(count: int, size: int = 0) -> list[dict[str, Any]]:
    return [record("tag", key, name=f"t{key}".ljust(size, "x")) for key in range(1, count + 1)]


def articles(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [record("article", key, title=f"a{key}", **fields) for key in range(1, count + 1)]
