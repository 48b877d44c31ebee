"""A context manager that decorates coroutine functions, too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction

_F = TypeVar("_F", bound=Callable[..., Any])


class BlockDecorator(ContextDecorator):
    """The base of a context manager that decorates functions of both kinds.

    contextlib's own class would leave the block before a coroutine has begun. A subclass has `__enter__`,
    `__exit__` and `_recreate_cm`.
    """

    #: Why it cannot decorate a generator function, whose body runs when the caller iterates, and what to do.
    refuses_generators: str

    def __call__(self, func: _F) -> _F:
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(self.refuses_generators)
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @wraps(func)
        async def inner(*args, **kwargs):
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return inner
