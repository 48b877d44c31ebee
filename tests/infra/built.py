"""Builds the package from a copy of the checkout, so that nothing is left in the checkout itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from do_bridge.relay import tools

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("do_bridge", "worker", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def copy_checkout(folder):
    """Copy what a package is built from, without the bundle; return the folder."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "dist", ".wrangler", ".dev.vars")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copyfile(ROOT / name, folder / name)
    shutil.rmtree(folder / "do_bridge" / "relay" / "worker", ignore_errors=True)
    (folder / "worker" / "node_modules").symlink_to((ROOT / "worker" / "node_modules").resolve())
    return folder


def build_sdist(checkout, folder):
    """Build an sdist, which needs Node; return its path."""
    hook = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    # An environment that venv made has an older one than pyproject.toml asks for.
    backend = Path(folder) / "backend"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(backend), "setuptools>=77"]
    subprocess.run(command, check=True)
    path = f"{tools.node_binary().parent}:{os.environ['PATH']}"
    around = os.environ | {"PATH": path, "PYTHONPATH": str(backend)}
    subprocess.run([sys.executable, "-c", hook], cwd=checkout, env=around, check=True, capture_output=True)
    return next(Path(folder).glob("*.tar.gz"))


def build_wheel(source, folder, **environment):
    """Build a wheel from a folder; return its path."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(folder), str(source)]
    subprocess.run(command, env=os.environ | environment, check=True)
    return next(Path(folder).glob("*.whl"))


def install(wheel, folder):
    """Install a wheel alone into a folder for PYTHONPATH; return the folder."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True)
    return folder
