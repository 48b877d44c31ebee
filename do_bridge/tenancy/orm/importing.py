"""Finds out whether a module is being imported, and imports early what Django imports late."""

import sys

from django.template import engines
from django.urls import get_resolver

_IMPORT_MACHINERY = "<frozen importlib._bootstrap>"


def is_importing():
    """Return whether this thread is in the middle of an import; takes some microseconds.

    Python has no public question for this, but its import machinery is on the stack during every import:
    https://docs.python.org/3/reference/import.html#loading
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_MACHINERY:
            return True
        frame = frame.f_back
    return False


def import_late_modules(urlconf=None):
    """Import now what Django would import in the first request: views, template tags, context processors.

    The first request then has no tenant that their module-level code could depend on.
    """
    _ = get_resolver(urlconf).url_patterns
    for engine in engines.all():
        # Django's engine has imported its tag libraries by now; both kinds import context processors late.
        for owner in (engine, getattr(engine, "engine", None)):
            _ = getattr(owner, "template_context_processors", None)
