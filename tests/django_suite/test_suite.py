"""A few labels of Django's own test suite lose nothing on either engine but what is expected."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# Those that have bitten most for their time; `make django-suite` runs all, every night.
LABELS = {
    "durable_object": "basic,bulk_create,db_functions.datetime,transactions",
    "d1": "constraints,lookup,schema",
    "d1_optimistic": "transactions",
}
FIRST_SLOT = 2  # The site's tests and the engines' have the databases of the slots before.


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"django_suite_{name}", HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("engine", LABELS)
def test_djangos_own_tests_lose_nothing_unexpected(engine: str, local_worker: Any, tmp_path: Path) -> None:
    run = load("run")
    code = run.run(engine, local_worker, tmp_path, labels=LABELS[engine], slots=1, first_slot=FIRST_SLOT)
    assert code == 0
    labels = run.results.labels_of(tmp_path)
    assert set(labels) == set(LABELS[engine].split(","))
    assert all(result["status"] == "done" for result in labels.values())
    lost = run.results.unexpected(engine, tmp_path)
    assert not lost, "\n".join(lost)


def test_every_expected_loss_is_a_test_that_stock_sqlite3_passes() -> None:
    results = load("results")
    for engine in ("durable_object", "d1", "d1_optimistic"):
        assert set(results.expected_losses(engine)) <= results.stock_passes()
