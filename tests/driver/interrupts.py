"""Interrupts a call before any line of the driver, as a signal may that becomes an exception."""

from __future__ import annotations

import contextlib
import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from do_bridge import driver


def interrupted(call: Callable[[], object], line: int, files: Sequence[str]) -> bool:
    """Call, interrupted before so many lines of these files of the driver; False where it has not as many."""
    left = line
    paths = {str(Path(driver.__file__).parent / name) for name in files}
    assert all(Path(path).is_file() for path in paths)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in paths:
            return None
        # The interpreter handles no signal where a block ends, before it lets go of the lock.
        locks = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with ")
        if event == "line" and not locks:
            left -= 1
            if not left:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            call()
    finally:
        sys.settrace(before)
    return left <= 0
