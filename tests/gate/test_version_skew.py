"""Old and new code at once: the Worker is the new one already, its objects still run the old one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.relay import bundle

# What an object of former code does not know: it answers to other names, or to fewer.
RENAMED = {"async interact(": "async formerly(", "  outcome(name": "  formerOutcome(name"}


def write_code(folder: Path, **changes: Any) -> Path:
    """Copy the relay's code into a folder, its configuration changed; returns the configuration's path."""
    shutil.copytree(bundle.SOURCE / "src", folder / "src")
    (folder / "node_modules").symlink_to((bundle.SOURCE / "node_modules").resolve())
    config = json.loads((bundle.SOURCE / "wrangler.jsonc").read_text()) | changes
    path = folder / "wrangler.jsonc"
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return path


@pytest.fixture
def skewed(own_worker: Callable[..., Any], tmp_path: Path) -> tuple[Any, Path]:
    """A new Worker before objects of former code, and the file that updates them."""
    old = write_code(tmp_path / "old", name="objects")
    binding = {"name": "TENANTS", "class_name": "Tenant", "script_name": "objects"}
    new = write_code(tmp_path / "new", durable_objects={"bindings": [binding]}, migrations=None)
    code = old.parent / "src" / "tenant.ts"
    text = code.read_text()
    for name, former in RENAMED.items():
        assert text.count(name) == 1
        text = text.replace(name, former)
    code.write_text(text)
    return own_worker(source=new.parent, others=[old], wrangler=True).start(), code


def test_a_new_worker_before_old_objects_loses_nothing_and_waits_for_the_new_ones(
    skewed: tuple[Any, Path],
) -> None:
    worker, code = skewed
    transport = RelayTransport(worker.url, worker.token)
    hasty = driver.connect(transport, "do:test/gate/skew", timeout=2)
    hasty.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
    hasty.execute("INSERT INTO item VALUES (1, 'by the old one')")

    hasty.begin()
    with pytest.raises(driver.OperationalError, match="does not implement the method") as caught:
        hasty.execute("INSERT INTO item VALUES (2, 'in vain')")
    assert (caught.value.kind, caught.value.effect) == ("retry", "none")
    hasty.rollback()
    assert hasty.execute("SELECT id FROM item").fetchall() == [(1,)]

    patient = driver.connect(transport, "do:test/gate/skew", timeout=60)
    patient.begin()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(patient.execute, "INSERT INTO item VALUES (3, 'by the new one')")
        # Longer than the attempts that a call has otherwise.
        with pytest.raises(TimeoutError, match="^$"):
            waiting.result(3)
        code.write_text((bundle.SOURCE / "src" / "tenant.ts").read_text())
        waiting.result(60)
    patient.commit()
    assert patient.execute("SELECT id FROM item ORDER BY id").fetchall() == [(1,), (3,)]
    transport.close()
