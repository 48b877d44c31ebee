"""Change the class of Django's objects to a subclass with additional checks."""

import types
from functools import cache, wraps

_OVERRIDDEN = "do_bridge_override"
# Names that only instances have: see `results`. `django.db.connection` forwards them to the connection.
_OF_INSTANCES = {"_result_cache", "cursor", "chunked_cursor", "temporary_connection"}


def subclass(mixin, base, **names):
    """Return a subclass of `base` with the methods of `mixin` and the name of `base`.

    Raises RuntimeError if `base` lacks one of the methods, because then Django would never call it.
    """
    for name in (name for part in mixin.__mro__[:-1] for name in vars(part)):
        if not name.startswith("__") and not hasattr(base, name) and name not in _OF_INSTANCES:
            raise RuntimeError(
                f"do_bridge overrides {base.__name__}.{name}, which this version of Django does not have. "
                "Install a version of Django that do_bridge supports."
            )
    # Migrations refer to managers by the names of their classes.
    names |= {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
    return types.new_class(base.__name__, (mixin, base), exec_body=lambda body: body.update(names))


@cache
def mixed(mixin, base):
    """Return the cached subclass for an importable class.

    Its attribute `do_bridge_base` is that class.
    """
    return base if issubclass(base, mixin) else subclass(mixin, base, do_bridge_base=base)


def remake(mixin, base):
    """Return an uninitialized instance of a mixed class.

    Pickles use it, because only `base` can be imported.
    """
    cls = mixed(mixin, base)
    return cls.__new__(cls)


def override(model, name, wrap):
    """Replace the method `name` of a model with `wrap(method)`, once."""
    present = getattr(model, name)
    if not hasattr(present, _OVERRIDDEN):
        made = wraps(present)(wrap(present))
        setattr(made, _OVERRIDDEN, True)
        setattr(model, name, made)
