"""Wraps methods of Django with this package's checks, and finds the wrappers that are missing."""

from functools import partial, partialmethod

from django.core.exceptions import ImproperlyConfigured

# A name of our own: other libraries wrap the same methods, and functools.wraps() copies it along.
_MARK = "do_bridge_guard"
_installed = []


def guard(owner, name, wrap):
    """Replace `owner.name` with `wrap(owner.name)`, once; `owner` is a class or a module.

    `wrap` takes the present function, or the getter of a property, and returns the one that checks first.
    """
    if (owner, name) not in _installed:
        _installed.append((owner, name))
    present = _present(owner, name)
    if _is_marked(present):
        return
    is_property = isinstance(present, property)
    guarded = wrap(present.fget if is_property else present)
    setattr(guarded, _MARK, True)
    if is_property:
        guarded = property(guarded, present.fset, present.fdel, present.__doc__)
    setattr(owner, name, guarded)


def installed():
    """Return the guarded methods, pairs of (class or module, name)."""
    return list(_installed)


def missing():
    """Return the names of guarded methods whose guard is gone, for example "QuerySet.bulk_create"."""
    return [f"{owner.__name__}.{name}" for owner, name in _installed if not _is_marked(_present(owner, name))]


def explain(names):
    """Return the message about missing guards, and what to do about them."""
    return (
        f"{', '.join(names)} of Django no longer has do_bridge's guard, so rows of one tenant could reach "
        "another. Another package replaced the method after do_bridge had loaded.",
        "Let that package decorate its function with functools.wraps() and call the function that it "
        "replaces, or patch before django.setup().",
    )


def require_guards():
    """Raise ImproperlyConfigured if a guard is missing: a site must not serve without them."""
    if names := missing():
        raise ImproperlyConfigured(" ".join(explain(names)))


def _present(owner, name):
    # What stands in the class itself, for a property is to be replaced and not read.
    present = vars(owner).get(name)
    if present is None or isinstance(present, partialmethod):
        return getattr(owner, name, None)
    return present


def _is_marked(present):
    function = present.fget if isinstance(present, property) else present
    while isinstance(function, partial):
        function = function.func
    return hasattr(function, _MARK)
