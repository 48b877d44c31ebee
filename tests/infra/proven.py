"""Whether the package was proven already: built, installed and used, with the same deciding files."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The hash of these files when the tests last passed. A test run that finds another one proves it again.
STAMP = Path(__file__).parent / "proven_package.txt"
DECIDING = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "requirements/tools-lock.txt",
    "docs/howto/testing.md",
    "docs/tutorial/*.md",
    "do_bridge/testing/**/*.py",
    "do_bridge/pytest_plugin.py",
    "do_bridge/relay/**/*.py",
    "tests/infra/pages.py",
    "tests/infra/tutorial.py",
    "tests/infra/inner/package_cases.py",
)


def digest():
    """Return the hash of the files that decide how the package is built, installed and tested with."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in DECIDING for path in ROOT.glob(pattern)}):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(ROOT)} {content}\n".encode())
    return total.hexdigest()


def is_proven():
    """Whether the tests may be skipped; `PACKAGE_TESTS=1`, as in `.ci/run`, always runs them."""
    if os.environ.get("PACKAGE_TESTS"):
        return False
    return STAMP.exists() and STAMP.read_text().strip() == digest()
