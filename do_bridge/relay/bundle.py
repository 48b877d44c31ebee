"""The relay Worker as one JavaScript file.

The wheel contains the file; a checkout builds it from `worker/`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, Final

from do_bridge.version import __version__

from .envfile import write_private
from .errors import RelayError
from .tools import CHECKOUT, bare_environment, node_binary, tools_folder

FOLDER: Final = Path(__file__).with_name("worker")
SCRIPT: Final = FOLDER / "relay.js"
CONFIG: Final = FOLDER / "wrangler.json"
RECORD: Final = FOLDER / "bundle.json"
SOURCE: Final = CHECKOUT / "worker"
_BUILDER: Final = Path(__file__).with_name("node") / "bundle.mjs"


def is_checkout() -> bool:
    """Whether the Worker's source is beside the package."""
    return (SOURCE / "src" / "index.ts").exists() and (SOURCE / "wrangler.jsonc").exists()


def ensure() -> Path:
    """Return the path of the bundle, after building it if its source has changed.

    Raises RelayError.
    """
    if is_checkout():
        source = _source_digest()
        if _record().get("source") != source or not SCRIPT.exists() or not CONFIG.exists():
            _build(source)
    elif not SCRIPT.exists():
        raise RelayError(
            "The relay's bundle is missing from this installation of do_bridge. Install the package again "
            "with `pip install --force-reinstall do-bridge`; a copy of the folder alone has no bundle."
        )
    return SCRIPT


def configuration() -> dict[str, Any]:
    """Return the Worker's configuration for wrangler, without D1 databases.

    Its ``main`` is the bundle.
    """
    script = ensure()
    config: dict[str, Any] = json.loads(CONFIG.read_text())
    return config | {"main": str(script)}


def _record() -> dict[str, str]:
    return dict(json.loads(RECORD.read_text())) if RECORD.exists() else {}


def _source_digest() -> str:
    digest = hashlib.sha256(__version__.encode())
    for path in [SOURCE / "wrangler.jsonc", _BUILDER, *sorted((SOURCE / "src").rglob("*.ts"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _build(source: str) -> None:
    """Write the bundle, its configuration and, last, the record of its source."""
    tools = tools_folder()
    FOLDER.mkdir(exist_ok=True)
    command = [str(node_binary()), str(_BUILDER), str(tools), str(SOURCE / "src" / "index.ts"), "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, env=bare_environment(), text=True)  # noqa: S603
    if done.returncode != 0:
        raise RelayError(f"The relay's bundle could not be built from {SOURCE}.\n{done.stderr.strip()}")
    local = json.loads((SOURCE / "wrangler.jsonc").read_text())  # plain JSON, despite its name
    left_out = ("$schema", "d1_databases")
    config = {name: value for name, value in local.items() if name not in left_out}
    config |= {"main": SCRIPT.name, "no_bundle": True, "vars": local["vars"] | {"D1_DATABASES": {}}}
    files = {
        SCRIPT: done.stdout,
        CONFIG: json.dumps(config, indent=2) + "\n",
        RECORD: json.dumps({"version": __version__, "source": source}) + "\n",
    }
    for path, text in files.items():
        write_private(path, text)  # whole files, because two processes may build at once
        path.chmod(0o644)  # they are part of the package, which everybody may read
