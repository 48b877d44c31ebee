"""Workers with other variables, other tokens or other code than the shared one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from do_bridge.relay import bundle
from tests import production


@pytest.fixture
def worker_copy(own_worker: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Makes a ProductionWorker of a copy of the code, not started; `variables` replace its own."""

    def make(variables: dict[str, Any] | None = None, **options: Any) -> Any:
        folder = tmp_path / "worker"
        for name in ("src", "test"):
            shutil.copytree(bundle.SOURCE / name, folder / name)
        config = json.loads((bundle.SOURCE / "wrangler.jsonc").read_text())
        config["main"] = production.ENTRY
        production.bind_jurisdictions(config)
        config["vars"] |= variables or {}
        (folder / "wrangler.jsonc").write_text(json.dumps(config))
        (folder / "node_modules").symlink_to((bundle.SOURCE / "node_modules").resolve())
        return own_worker(source=folder, **options)

    return make
