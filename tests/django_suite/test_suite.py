"""A few labels of Django's own test suite lose nothing on either engine but what expected.json names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# Those that have bitten most for their time; `make django-suite` runs all.
LABELS = (
    "basic,bulk_create,constraints,dates,datetimes,db_functions.datetime,"
    "expressions,fixtures,lookup,schema,transactions"
)
# Its own part of D1 is what blocks do.
OPTIMISTIC_LABELS = "basic,bulk_create,get_or_create,transactions"
FIRST_SLOT = 2  # The site's tests and the engines' have the databases of the slots before.


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"django_suite_{name}", HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("engine", "wanted"),
    [("durable_object", LABELS), ("d1", LABELS), ("d1_optimistic", OPTIMISTIC_LABELS)],
)
def test_djangos_own_tests_lose_nothing_unexpected(
    engine: str, wanted: str, local_worker: Any, tmp_path: Path
) -> None:
    run = load("run")
    code = run.run(engine, local_worker, tmp_path, labels=wanted, slots=1, first_slot=FIRST_SLOT)
    assert code == 0
    labels = run.results.labels_of(tmp_path)
    assert set(labels) == set(wanted.split(","))
    assert all(result["status"] == "done" for result in labels.values())
    lost = run.results.unexpected(engine, tmp_path)
    assert not lost, "\n".join(lost)


def test_every_expected_loss_is_a_test_that_stock_sqlite3_passes() -> None:
    results = load("results")
    for engine in ("durable_object", "d1", "d1_optimistic"):
        assert set(results.expected_losses(engine)) <= results.stock_passes()
