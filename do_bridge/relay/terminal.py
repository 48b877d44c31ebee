"""Print lines on the terminal, and end a command by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """Ctrl-C was pressed or SIGTERM was sent."""


def say(text: str) -> None:
    """Write one line to the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Stopped in the block at the first Ctrl-C or SIGTERM.

    Further signals are ignored until the block has ended.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
