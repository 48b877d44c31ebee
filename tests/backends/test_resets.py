"""The ORM on an object that is reset beside a write; the errors have the recorded shape of the 30 s limit.

`worker/test/thirty-seconds.test.ts` waits for the real one and compares it with the record.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.transaction import atomic
from engine_aliases import alias_for
from shelf import Author, tables

from do_bridge.relay import bundle
from tests.production import ProductionWorker

AFTER, BEFORE = "reset after the write", "reset before the write"


@pytest.fixture(scope="module")
def resetting_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A relay whose objects fail beside the writes that name AFTER or BEFORE."""
    folder = tmp_path_factory.mktemp("resetting") / "worker"
    for name in ("src", "test"):
        shutil.copytree(bundle.SOURCE / name, folder / name)
    (folder / "node_modules").symlink_to((bundle.SOURCE / "node_modules").resolve())
    config = json.loads((bundle.SOURCE / "wrangler.jsonc").read_text())
    config["main"] = "test/reset-worker.ts"
    # Each batch is a call of its own, as the first of a session is.
    config["vars"]["CALL_HOLD_MS"] = 0
    (folder / "wrangler.jsonc").write_text(json.dumps(config))
    state: Path = folder.parent / "state"
    token = "own-token-for-objects-that-are-reset"  # noqa: S105
    with ProductionWorker(folder=state, token=token, source=folder) as worker:
        yield worker


@pytest.fixture
def using(resetting_worker: Any, django_db_blocker: Any) -> Iterator[str]:
    """An alias whose object fails, with one author in it."""
    with django_db_blocker.unblock(), alias_for("durable_object", resetting_worker) as connection:
        with tables(connection) as alias:
            Author.objects.using(alias).create(name="first")
            yield alias
        connection.connection.transport.close()


def names(using: str) -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def test_a_create_that_was_kept_before_the_reset_is_done_once_and_knows_its_key(using: str) -> None:
    author = Author.objects.using(using).create(name=AFTER)
    assert author.pk == 2
    assert names(using) == ["first", AFTER]


def test_an_update_and_a_delete_that_were_kept_before_the_reset_are_done_once(using: str) -> None:
    authors = Author.objects.using(using)
    assert authors.filter(name="first").update(name=AFTER) == 1
    assert authors.filter(name=AFTER).delete() == (1, {"shelf.Author": 1})
    assert names(using) == []


def test_a_block_whose_commit_was_kept_before_the_reset_is_there_once(using: str) -> None:
    with atomic(using=using):
        Author.objects.using(using).create(name=AFTER)
        Author.objects.using(using).create(name="third")
    assert names(using) == ["first", AFTER, "third"]


def test_a_create_that_did_not_run_before_the_reset_is_known_as_not_done(using: str) -> None:
    with pytest.raises(OperationalError, match="was not carried out and will not be") as caught:
        Author.objects.using(using).create(name=BEFORE)
    assert caught.value.__cause__.effect == "none"  # type: ignore[union-attr]
    assert names(using) == ["first"]
