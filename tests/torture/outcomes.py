"""What a caller knows after an error."""

from __future__ import annotations

from django.core.management import CommandError
from django.db import Error as DjangoError

from do_bridge import driver

from .journal import FAILED, UNKNOWN, WRONG


class WrongResult(Exception):
    """A command that succeeded left something else than it promises."""


def outcome(error: Exception) -> str:
    """Return what the caller knows after an error: that nothing was done, that it is unknown, or wrong."""
    if isinstance(error, WrongResult) or not isinstance(error, (driver.Error, DjangoError, CommandError)):
        return WRONG
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "effect", None) is None:
        cause = cause.__cause__
    return UNKNOWN if getattr(cause, "effect", None) == "unknown" else FAILED
