"""Opens relay sessions before the first visitor comes."""

from __future__ import annotations

import logging

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

from .environment import in_test_environment
from .remote_sqlite.base import DatabaseWrapper

SPARE_SESSIONS = 1

logger = logging.getLogger("do_bridge.driver")


def warm_up() -> None:
    """Open relay sessions in the background, and keep some open ahead of need.

    Call it once in each process that serves, after a fork: in `wsgi.py` and `asgi.py`, below
    `get_wsgi_application()`, or in gunicorn's `post_worker_init` if it preloads the application.
    `OPTIONS["spare_sessions"]` of a database says how many idle sessions to keep (1). It returns at once, and
    a relay that does not answer is tried again. In a test run it does nothing.
    """
    if in_test_environment():
        return
    for alias in connections.settings:
        wrapper = connections[alias]
        if not isinstance(wrapper, DatabaseWrapper):
            continue
        try:
            transport = wrapper.get_transport()
        except (ImproperlyConfigured, driver.Error) as error:
            # The first connection raises it, where somebody sees it.
            logger.debug("No relay session is opened ahead for %r: %s", alias, error)
            continue
        if isinstance(transport, RelayTransport):
            transport.pool.keep_spares(
                int(wrapper.settings_dict["OPTIONS"].get("spare_sessions", SPARE_SESSIONS))
            )
