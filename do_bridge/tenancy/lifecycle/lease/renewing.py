"""Renew leases in a thread while their holder works."""

import contextlib
import logging
import threading

from django.db import Error, connections

from do_bridge.tenancy.replicated.sql import run_batch

logger = logging.getLogger("do_bridge.migrations")


@contextlib.contextmanager
def renewed(alias, renewal, seconds):
    """Run the statement `renewal` in a thread while the block runs.

    It runs every third of `seconds`.
    """
    ended = threading.Event()
    arguments = (alias, renewal, seconds / 3, ended)
    threading.Thread(target=_keep, args=arguments, name="do-bridge-lease", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _keep(alias, renewal, pause, ended):
    try:
        while not ended.wait(pause):
            try:
                run_batch(connections[alias], [renewal])
            except Error as error:
                # The next one may succeed; if none does, the fencing token keeps the data safe.
                logger.warning("A lease in %s was not renewed: %s", alias, error)
    finally:
        connections.close_all()
