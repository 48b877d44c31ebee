"""Detect running imports, and import early what Django imports late."""

import sys

from django.template import engines
from django.urls import get_resolver

_IMPORT_MACHINERY = "<frozen importlib._bootstrap>"


def is_importing():
    """Return whether this thread is importing a module; takes some microseconds.

    Python has no public function for this, but its import machinery is on the stack during every import:
    https://docs.python.org/3/reference/import.html#loading
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_MACHINERY:
            return True
        frame = frame.f_back
    return False


def import_late_modules(urlconf=None):
    """Import views, template tags and context processors before the first request.

    Otherwise their module-level code would run inside the tenant of the first request.
    """
    _ = get_resolver(urlconf).url_patterns
    for engine in engines.all():
        # Django's engine has already imported its tag libraries, but both kinds import context processors
        # late.
        for owner in (engine, getattr(engine, "engine", None)):
            _ = getattr(owner, "template_context_processors", None)
