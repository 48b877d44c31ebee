"""Run `on_commit()` callbacks and signal receivers in the right tenant's context."""

from functools import wraps

from django.db.models.signals import ModelSignal

from do_bridge.backends.remote_sqlite.blocks import callbacks
from do_bridge.patches import replace
from do_bridge.tenancy.context import Scope, current, scope_context
from do_bridge.tenancy.slugs import alias_slug


def keep_contexts():
    """Run callbacks and receivers in the right context.

    Callbacks of `on_commit()` run in the context of their registration, receivers of a model's signals in
    that of the row.
    """
    callbacks.install(_in_this_context)
    replace(ModelSignal, "send", _sending)


def _in_this_context(func):
    """Return a callback that runs `func` in the present context."""
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
        # Signals about the creation of instances have no `using`.
        if using is None or (slug := alias_slug(using)) is None:
            return send(self, sender, **named)
        scope = current()
        if scope.alias == using or scope.is_migration:
            return send(self, sender, **named)
        # The row was saved with using() in another database, and receivers must write there too.
        with scope_context(Scope(slug, str(using))):
            return send(self, sender, **named)

    return sending
