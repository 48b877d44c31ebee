"""Runs what Django hands over, callbacks and signals, in the tenant that it is about."""

from functools import wraps

from django.db.models.signals import ModelSignal

from do_bridge.backends.remote_sqlite.blocks import callbacks
from do_bridge.patches import replace
from do_bridge.tenancy.context import Scope, current, scope_context
from do_bridge.tenancy.slugs import alias_slug


def keep_contexts():
    """Let callbacks of `on_commit()` and receivers of models' signals run in their context."""
    callbacks.install(_in_this_context)
    replace(ModelSignal, "send", _sending)


def _in_this_context(func):
    """Return a callback that runs `func` in the context of now, whenever the block is committed."""
    scope = current()

    @wraps(func, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def callback():
        if current() == scope:
            return func()
        with scope_context(scope):
            return func()

    return callback


def _sending(send):
    @wraps(send)
    def sending(self, sender, **named):
        using = named.get("using")
        # Signals of instances being made have none.
        if using is None or (slug := alias_slug(using)) is None:
            return send(self, sender, **named)
        scope = current()
        if scope.alias == using or scope.is_migration:
            return send(self, sender, **named)
        # A row that was saved elsewhere with using(): a receiver that writes belongs to the same tenant.
        with scope_context(Scope(slug, str(using))):
            return send(self, sender, **named)

    return sending
