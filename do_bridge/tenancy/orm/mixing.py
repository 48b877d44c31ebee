"""Gives objects of Django a subclass of their own class, with methods that check first."""

import types
from functools import cache, wraps

_OVERRIDDEN = "do_bridge_override"
# What instances have, and no class: see `results`; `django.db.connection` gets it from what it stands for.
_OF_INSTANCES = {"_result_cache", "cursor", "chunked_cursor", "temporary_connection"}


def subclass(mixin, base, **names):
    """Return a subclass of `base` with the methods of `mixin`, under the name of `base`.

    Raises RuntimeError if `base` lacks one of them: then Django calls it by another name, and nothing checks.
    """
    for name in (name for part in mixin.__mro__[:-1] for name in vars(part)):
        if not name.startswith("__") and not hasattr(base, name) and name not in _OF_INSTANCES:
            raise RuntimeError(
                f"do_bridge overrides {base.__name__}.{name}, which this version of Django does not have. "
                "Install a version of Django that do_bridge supports."
            )
    # Migrations write managers down by the names of their classes.
    names |= {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
    return types.new_class(base.__name__, (mixin, base), exec_body=lambda body: body.update(names))


@cache
def mixed(mixin, base):
    """Return the one such subclass of an importable class; it knows its base."""
    return base if issubclass(base, mixin) else subclass(mixin, base, do_bridge_base=base)


def remake(mixin, base):
    """Return a bare instance of a mixed class: pickles name the class that can be imported."""
    cls = mixed(mixin, base)
    return cls.__new__(cls)


def override(model, name, wrap):
    """Put `wrap(model.name)` into the class of a model, once."""
    present = getattr(model, name)
    if not hasattr(present, _OVERRIDDEN):
        made = wraps(present)(wrap(present))
        setattr(made, _OVERRIDDEN, True)
        setattr(model, name, made)
