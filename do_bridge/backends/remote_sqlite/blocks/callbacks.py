"""Wrap the callbacks of `on_commit()` for a caller that has a context.

The backends themselves have no context.
"""

_wrap = None


def install(wrap):
    """Pass every callback through `wrap`, a function of the callback, from now on."""
    global _wrap
    _wrap = wrap


def wrapped(func):
    """Return the callback to be run in the place of `func`."""
    return func if _wrap is None or not callable(func) else _wrap(func)
