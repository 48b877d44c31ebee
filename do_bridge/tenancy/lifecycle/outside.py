"""Keep work on tenants out of blocks of D1 that could be rolled back alone."""

import threading
from concurrent.futures import Future
from contextvars import copy_context

from django.db import connections
from django.db.transaction import TransactionManagementError

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import has_open_block


def can_be_rolled_back():
    """Return whether what this thread writes to D1 now could be rolled back.

    The blocks of a TestCase do not count.
    """
    alias = conf("DIRECTORY_ALIAS")
    return connections[alias].features.supports_transactions and has_open_block(alias)


def refuse_block(what):
    """Raise TransactionManagementError inside such a block.

    `what` says what can't be done there. PostgreSQL refuses CREATE DATABASE inside a transaction for the
    same reason.
    """
    if can_be_rolled_back():
        raise TransactionManagementError(
            f"{what} inside atomic() on {conf('DIRECTORY_ALIAS')!r}, because a rollback there would not "
            "undo what happened in the tenant's Durable Object. Nothing was done. Do it before or after the "
            "block, or with transaction.on_commit()."
        )


def run_outside(work):
    """Run work() where its writes to D1 are committed at once; return its result.

    Inside a block that could be rolled back, this is a thread with connections of its own.
    """
    return in_thread(work) if can_be_rolled_back() else work()


def in_thread(function, *arguments):
    """Run a function in a new thread, which has its own connections, and wait for it."""
    outcome = Future()

    def run():
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    return outcome.result()
