"""Read and write env files.

They hold secrets, and only their owner can read them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(
    r"^(?P<before>\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*)"
    r"(?P<quote>[\"']?)(?P<value>.*?)(?P=quote)\s*$"
)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, completely or not at all."""
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # of mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink()
        raise


def read(path: Path) -> dict[str, str]:
    """Return the names and values of an env file; empty if it does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = (_LINE.match(line) for line in lines)
    return {match["name"]: match["value"] for match in found if match}


def update(path: Path, settings: Mapping[str, str], *, add: bool = True) -> bool:
    """Set names in an env file, and keep its other lines.

    Returns True if the file changed. add: whether names that the file does not have are added at its end.
    """
    before = path.read_text() if path.exists() else ""
    lines, left = [], dict(settings)
    for line in before.splitlines():
        match = _LINE.match(line)
        if match and match["name"] in settings:
            left.pop(match["name"], None)
            line = f"{match['before']}{match['quote']}{settings[match['name']]}{match['quote']}"
        lines.append(line)
    if add:
        lines += [f"{name}={value}" for name, value in left.items()]
    if lines == before.splitlines():
        return False
    write_private(path, "".join(f"{line}\n" for line in lines))
    return True
