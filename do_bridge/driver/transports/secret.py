"""Hide tokens from whatever shows local variables.

Traceback pages, debuggers and printed dictionaries do that.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class Secret(str):
    """A text that is sent unchanged and shown as ``'***'`` by ``repr``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def without_frames(error: E) -> E:
    """Return the error without its frames and causes.

    Their variables hold requests with their headers.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
