"""Read and write env files, which hold secrets and are readable for their owner alone."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it, or nothing if that fails or is killed."""
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
    """Return the names and values of an env file; nothing if there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = (_LINE.match(line) for line in lines)
    return {match[1]: match[2].strip("\"'") for match in found if match}


def update(path: Path, settings: Mapping[str, str]) -> bool:
    """Set names in an env file, and keep its other lines; return True if the file changed.

    Names that the file does not have are added at its end.
    """
    before = path.read_text() if path.exists() else ""
    lines, left = [], dict(settings)
    for line in before.splitlines():
        match = _LINE.match(line)
        if match and match[1] in settings:
            if left.pop(match[1], None) is None:
                continue  # a repeated name: the last one would win
            line = f"{match[1]}={settings[match[1]]}"
        lines.append(line)
    lines += [f"{name}={value}" for name, value in left.items()]
    text = "".join(f"{line}\n" for line in lines)
    if text == before:
        return False
    write_private(path, text)
    return True
