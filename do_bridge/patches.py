"""The names of Django that this package replaces for everybody; `docs/explanation/patches.md` lists them."""

from django.core.exceptions import ImproperlyConfigured

# A name of our own: other libraries wrap the same functions, and functools.wraps() copies it along.
_MARK = "do_bridge_patch"
_installed = []


def replace(owner, name, make):
    """Replace `owner.name` with `make(owner.name)`, once; `owner` is a class, a module or another object."""
    if (owner, name) not in _installed:
        _installed.append((owner, name))
    present = getattr(owner, name)
    if not hasattr(present, _MARK):
        made = make(present)
        setattr(made, _MARK, True)
        # Not setattr(): Django's proxies pass that on to what they stand for.
        (type if isinstance(owner, type) else object).__setattr__(owner, name, made)


def installed():
    """Return what is replaced, pairs of (class, module or object, name)."""
    return list(_installed)


def path(owner, name):
    """Return a replaced name as people write it, for example "ModelSignal.send"."""
    return f"{getattr(owner, '__name__', 'django.db.connection')}.{name}"


def missing():
    """Return the replaced names that hold something else by now, for example "ModelSignal.send"."""
    return [path(owner, name) for owner, name in _installed if not hasattr(getattr(owner, name), _MARK)]


def explain(names):
    """Return the message about missing replacements, and what to do about them."""
    return (
        f"{', '.join(names)} of Django no longer has do_bridge's check, so rows of one tenant could reach "
        "another. Another package replaced the name after do_bridge had loaded.",
        "Let that package decorate its function with functools.wraps() and call the function that it "
        "replaces, or patch before django.setup().",
    )


def require():
    """Raise ImproperlyConfigured if a replacement is missing: a site must not serve without them."""
    if names := missing():
        raise ImproperlyConfigured(" ".join(explain(names)))
