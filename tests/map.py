"""Print the test files of a module: `python -m tests.map do_bridge/driver/sql.py`.

They stand in docs/reference/tests.md.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lines() -> list[tuple[list[str], list[str]]]:
    """Return the table's lines: (patterns of files in do_bridge/, files in tests/)."""
    page = (ROOT / "docs" / "reference" / "tests.md").read_text()
    rows = re.findall(r"^\| (`.+`) \| (`.+`) \|$", page, re.MULTILINE)
    return [(re.findall("`(.+?)`", modules), re.findall("`(.+?)`", tests)) for modules, tests in rows]


def tests_of(module: str) -> list[str]:
    """Return the test files of one file of do_bridge/; those of the first line that has it come first."""
    found = (tests for patterns, tests in lines() if any(fnmatch(module, pattern) for pattern in patterns))
    return list(dict.fromkeys(test for tests in found for test in tests))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = name.replace(".", "/") + ".py" if not name.endswith(".py") else name
        for test in tests_of(path.removeprefix("do_bridge/")):
            print(f"tests/{test}")  # noqa: T201
