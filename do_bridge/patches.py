"""Replace names in Django for the whole process; `docs/patches.md` lists them."""

from django.core.exceptions import ImproperlyConfigured

# An attribute of the replacement, which functools.wraps() copies if another library wraps it.
_MARK = "do_bridge_patch"
_installed = []


def replace(owner, name, make):
    """Replace `owner.name` with `make(owner.name)`, once.

    `owner` is a class, a module or another object.
    """
    if (owner, name) not in _installed:
        _installed.append((owner, name))
    present = getattr(owner, name)
    if not hasattr(present, _MARK):
        made = make(present)
        setattr(made, _MARK, True)
        # Not setattr(), which Django's proxies forward to the object behind them.
        (type if isinstance(owner, type) else object).__setattr__(owner, name, made)


def installed():
    """Return the replaced names as pairs of (class, module or object, name)."""
    return list(_installed)


def path(owner, name):
    """Return a replaced name as text, for example "ModelSignal.send"."""
    return f"{getattr(owner, '__name__', 'django.db.connection')}.{name}"


def missing():
    """Return the names that another package has replaced since.

    A name is for example "ModelSignal.send".
    """
    return [path(owner, name) for owner, name in _installed if not hasattr(getattr(owner, name), _MARK)]


def explain(names):
    """Return the error message about missing replacements, and a hint."""
    return (
        f"Another package has replaced Django's {', '.join(names)}, and with it do_bridge's check. So rows "
        "of one tenant could reach another.",
        "Let that package wrap the function that it replaces with functools.wraps() and call it, or apply "
        "its patch before django.setup().",
    )


def require():
    """Raise ImproperlyConfigured if a replacement is missing.

    Without it tenants would not be kept apart.
    """
    if names := missing():
        raise ImproperlyConfigured(" ".join(explain(names)))
