"""Handle conflicts of blocks on D1: run them again, or answer 503.

A block conflicts if another block has overtaken it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import connections
from django.http import HttpResponse
from django.template import TemplateDoesNotExist, loader

from .backends.d1.conflict import TransactionConflict

__all__ = ["ConflictMiddleware", "TransactionConflict", "retry_on_conflict"]

_F = TypeVar("_F", bound=Callable[..., Any])

logger = logging.getLogger("do_bridge.d1")

# Seconds; each pause is at most twice as long as the one before.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
SECONDS_BEFORE_ANOTHER_TRY = 1
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Please try again</title>
<meta name="viewport" content="width=device-width"><body style="font: 1rem/1.5 system-ui; margin: 3rem auto;
max-width: 40rem; padding: 0 1rem"><h1>Please try again</h1><p>Another request changed the same data at the
same moment. Nothing of yours was saved.</p></body></html>"""


def retry_on_conflict(times: int = 3) -> Callable[[_F], _F]:
    """Return a decorator that runs a function again after TransactionConflict.

    It runs the function, or view, up to `times` more. The function must open its block of `atomic()` itself.
    Inside a block that is open already it runs once, and the conflict is the outer block's. The pauses
    between the attempts grow and are random. Works on coroutine functions too. What the function does outside
    of the database is done again.
    """
    if callable(times) or times < 0:
        raise TypeError("Write @retry_on_conflict() or @retry_on_conflict(times=3).")

    def decorator(function):
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def again(*args, **kwargs):
                tries = 0 if await sync_to_async(is_in_block)() else times
                for number in range(tries):
                    try:
                        return await function(*args, **kwargs)
                    except TransactionConflict:
                        await asyncio.sleep(_pause(number, function))
                return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def again(*args, **kwargs):
                tries = 0 if is_in_block() else times
                for number in range(tries):
                    try:
                        return function(*args, **kwargs)
                    except TransactionConflict:
                        time.sleep(_pause(number, function))
                return function(*args, **kwargs)

        return again

    return decorator


def is_in_block():
    """Return whether this thread has an open block that may conflict.

    The blocks of a TestCase do not count.
    """
    return any(
        not all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
        for connection in connections.all(initialized_only=True)
        if getattr(connection.features, "can_conflict", False)
    )


def _pause(number, function):
    name = getattr(function, "__qualname__", repr(function))
    logger.info("%s conflicted with another transaction and runs again (attempt %d).", name, number + 2)
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**number)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter is no secret.


def conflict_page(request, error):
    """Return the page that asks a visitor to try again, with the status 503.

    It is the template conflict.html, or a plain page.
    """
    logger.warning("%s: %s", request.path, error)
    try:
        page = loader.get_template("conflict.html").render({}, request)
    except TemplateDoesNotExist:
        page = PAGE
    return HttpResponse(page, status=503, headers={"Retry-After": str(SECONDS_BEFORE_ANOTHER_TRY)})


class ConflictMiddleware:
    """Middleware that answers 503 with Retry-After after a conflict in a view.

    TenantMiddleware does the same.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        """Return the page for a conflict, None for any other error."""
        return conflict_page(request, exception) if isinstance(exception, TransactionConflict) else None
