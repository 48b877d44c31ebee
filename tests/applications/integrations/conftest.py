"""Workers in processes of their own, and the database that has the queue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def needed(name: str) -> Any:
    """Return a module; skip the tests of a file without it, except where all packages must be there."""
    return import_module(name) if os.environ.get("INTEGRATIONS_ALL") else pytest.importorskip(name)


@pytest.fixture(params=["default", "optimistic", "object"])
def queue_alias(request: pytest.FixtureRequest, settings: Any, transactional_db: None) -> str:
    """The alias of the database that has the queue: D1 in both modes, and a Durable Object."""
    settings.QUEUE_ALIAS = request.param
    return request.param


@pytest.fixture
def spawn(db: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """spawn(module, *arguments, **environment): a process on the databases of this test run."""
    from django.conf import settings
    from django.db import connections

    started = []

    def start(*command: str, **environment: str) -> subprocess.Popen[str]:
        databases = {
            alias: {name: connections.settings[alias][name] for name in ("NAME", "HOST", "PASSWORD")}
            for alias in ("default", "optimistic", "object", "tenant")
        }
        values = os.environ | {
            "INTEGRATION_DATABASES": json.dumps(databases),
            "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
            "QUEUE_ALIAS": settings.QUEUE_ALIAS,
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=values | environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
