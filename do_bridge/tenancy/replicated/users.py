"""Users: a row in D1, and copies under the same primary key in the objects of tenants that refer to them."""

import asyncio
import copy
import time
from collections import OrderedDict
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_save
from django.utils.functional import LazyObject, empty

from do_bridge.driver.sql import prepare
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import TenantMismatch, current_request
from do_bridge.tenancy.sides import follows_context
from do_bridge.tenancy.slugs import is_tenant_side

# Rows of these have the same keys in every database, too; see contenttypes.py.
SAME_KEYS = ("contenttypes.contenttype", "auth.permission")

_PENDING = "_do_bridge_copies"
_KNOWN_MOST = 10_000


class RelationRefused(TenantMismatch, ValueError):
    """Two rows of different databases were to be related; nothing was sent."""


class CopyMissing(RelationRefused):
    """A user of D1 was to be related to a tenant's row, and the tenant's object has no copy of the user."""


class CopyWriter:
    """How copies of users are made: `do_bridge.members` gives both functions when it is installed."""

    #: (connection, users) → [(sql, params), …] that make or refresh their copies.
    statements = None
    #: (user) → the values that a copy has, hashable.
    values = None


writer = CopyWriter()


def is_user_model(model):
    """Say whether `model` is the project's user model, or a proxy of it."""
    concrete = model._meta.concrete_model
    return concrete is not None and concrete._meta.label_lower == settings.AUTH_USER_MODEL.lower()


def has_same_keys(model):
    """Say whether a model's rows, content types or permissions, are in every tenant as they are in D1."""
    concrete = model._meta.concrete_model
    return concrete is not None and concrete._meta.label_lower in SAME_KEYS


def is_user(row):
    """Say whether a row is a user's, from D1 or a tenant's copy."""
    return is_user_model(row.__class__)  # not type(): request.user is a lazy object


def is_full(row):
    """Say whether a row stands for a tenant's copy but has D1's values: `request.user` inside a tenant."""
    return getattr(row._state, "do_bridge_is_full", False)


def as_copy(user, alias):
    """Return D1's row `user` as the one that stands for its copy in the tenant's database `alias`.

    It has D1's values, and is saved there. Nothing is sent: the copy itself is written together with the
    first statement after a relation to it. Anything but a user's row of D1 is returned as it is.
    """
    return _moved(user, alias, is_full=True) if _is_of_directory(user) else user


def as_directory_row(user):
    """Return D1's row again, of what `as_copy` returned."""
    return _moved(user, conf("DIRECTORY_ALIAS"), is_full=False)


def _is_of_directory(user):
    state = getattr(user, "_state", None)
    return state is not None and state.db == conf("DIRECTORY_ALIAS") and is_user(user)


def _moved(user, alias, is_full):
    if isinstance(user, LazyObject):
        user = copy.copy(user)  # of what it wraps
    made = user.__class__.__new__(user.__class__)
    values = user.__getstate__()
    values.pop("_prefetched_objects_cache", None)
    made.__dict__.update(values)
    made._state.db, made._state.do_bridge_is_full = alias, is_full
    return made


def refuse_full_copies():
    """Connect a receiver that keeps D1's values of `request.user`, a password among them, out of tenants."""
    pre_save.connect(_refuse_full, sender=settings.AUTH_USER_MODEL, dispatch_uid="do_bridge.refuse_full")


def _refuse_full(sender, instance, using, **kwargs):
    if is_full(instance) and is_tenant_side(using):
        raise TenantMismatch(
            f"This user has the values of D1, a password among them, and can't be saved in {str(using)!r}. "
            "Leave out `using`: D1 is written then, and the copy follows."
        )


def has_same_key(row, alias):
    """Say whether a row of another database may stand for the one of its key in the database `alias`."""
    own, directory = row._state.db, conf("DIRECTORY_ALIAS")
    if own == directory and is_tenant_side(alias):
        return is_user(row) or has_same_keys(row)
    return alias == directory and is_tenant_side(own) and is_user(row)


def may_cross(one, two):
    """Say whether rows of two databases may be related by key: a tenant's, and one of D1."""
    return has_same_key(one, two._state.db) or has_same_key(two, one._state.db)


def refuse_stray(user, row):
    """Raise RelationRefused for a row of a tenant although such rows, and their relations to users, are D1's.

    By its key it would be taken for another row, e.g. for a group of D1.
    """
    if not (is_tenant_side(row._state.db) and is_user(user)) or is_user(row):
        return
    model = row.__class__
    if not follows_context(model) and not has_same_keys(row):
        raise RelationRefused(
            f"A {row._meta.label} of {str(row._state.db)!r} can't be related to a user, because users' "
            f"relations to {row._meta.label} are in D1. Read it from D1."
        )


def allow_relation(one, two):
    """Answer as a router does; raises RelationRefused for a row of D1 that no tenant has."""
    aliases = one._state.db, two._state.db
    if None in aliases or not any(map(is_tenant_side, aliases)):
        return None
    refuse_stray(one, two)
    refuse_stray(two, one)
    if aliases[0] != aliases[1]:
        if all(map(is_tenant_side, aliases)):
            return False
        if not may_cross(one, two):
            raise _refused(*((one, two) if is_tenant_side(aliases[0]) else (two, one)))
    for user, row in ((one, two), (two, one)):
        if is_tenant_side(row._state.db) and is_user(user) and not is_user(row):
            need_copy(user, row._state.db, row)
    return True


def _refused(row, other):
    return RelationRefused(
        f"A {other._meta.label} of {str(other._state.db)!r} can't be related to a {row._meta.label} of "
        f"{str(row._state.db)!r}, because a relation stays in one database. Keep its primary key in a plain "
        f"field, or add {other._meta.label!r} to DO_BRIDGE['TENANT_MODELS']."
    )


def need_copy(user, alias, row=None):
    """See to it that the tenant's database `alias` has a copy of the user to whom `row` is to be related.

    The copy of who is signed in is written, made or refreshed, together with the next statement. For anybody
    else it must be there: raises CopyMissing after one round trip, which is saved if the copy is known.
    """
    alias = str(alias)
    if user._state.db == alias and not is_full(user):
        return  # the copy itself
    if row is not None and not row._state.adding and _refers_to(row, user):
        return
    if _is_signed_in(user):
        if not _is_known(alias, user, writer.values(user)):
            current_request().__dict__.setdefault(_PENDING, {}).setdefault(alias, {})[user.pk] = user
    elif not _is_known(alias, user) and not _has_event_loop():
        if not user.__class__._base_manager.using(alias).filter(pk=user.pk).exists():
            model = user._meta.object_name
            raise CopyMissing(
                f"User {user.pk} was loaded from {str(user._state.db)!r} and has no copy in {alias!r}. Make "
                f"the user a member of the tenant, or copy the row with "
                f"do_bridge.tenancy.replicated.sql.copy_rows({model}, [user], {alias!r})."
            )
        _remember([(alias, user.pk)])


def _refers_to(row, user):
    """Say whether one of the row's foreign keys refers to the user, as rows that were read do."""
    return any(row.__dict__.get(name) == user.pk for name in _user_keys(row.__class__))


@lru_cache(maxsize=1024)
def _user_keys(model):
    relations = [field for field in model._meta.concrete_fields if field.related_model is not None]
    return [field.attname for field in relations if is_user_model(field.related_model)]


def _is_signed_in(user):
    if writer.statements is None or (request := current_request()) is None:
        return False
    if is_full(user):
        return True
    # Whoever has been authenticated meanwhile, by a view or a REST framework; nobody is read for this.
    present = request.__dict__.get("user")
    if isinstance(present, LazyObject) and present._wrapped is empty:
        return False
    return getattr(present, "pk", None) == user.pk and getattr(present, "is_authenticated", False)


def _has_event_loop():
    # Nothing can be read here; a foreign key without its row fails when it is written.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# What this process knows of copies: {(alias, key): (until, values)}.

_known = OrderedDict()
_lock = Lock()


def _is_known(alias, user, values=None):
    with _lock:
        until, found = _known.get((alias, user.pk), (0, None))
    return until > time.monotonic() and (values is None or found == values)


def _remember(places, values=None):
    until = time.monotonic() + conf("TENANT_CACHE_SECONDS")
    with _lock:
        for place in places:
            _known[place] = (until, values)
            _known.move_to_end(place)
        while len(_known) > _KNOWN_MOST:
            _known.popitem(last=False)


# Sending


def send_copies():
    """Let tenants' connections send the copies that a request needs along with their next statements."""
    connection_created.connect(_watch, dispatch_uid="do_bridge.copies_ahead")


def _watch(sender, connection, **kwargs):
    if is_tenant_side(connection.alias):
        alias = connection.alias
        connection.connection.ahead = lambda: _ahead(alias)


@contextmanager
def _ahead(alias):
    """Give the statements that go before others of a request; what was not sent waits for the next ones."""
    request = current_request()
    pending = request.__dict__.get(_PENDING) if request is not None else None
    users = pending.pop(alias, None) if pending else None
    if not users:
        yield []
        return
    try:
        yield [
            prepare(sql, params)
            for sql, params in writer.statements(connections[alias], list(users.values()))
        ]
    except BaseException:
        pending[alias] = users | pending.get(alias, {})
        raise

    def note():
        for user in users.values():
            _remember([(alias, user.pk)], writer.values(user))

    connection = connections[alias]
    if connection.in_atomic_block:
        # What a transaction writes may be rolled back.
        transaction.on_commit(note, using=alias)
    elif connection.get_autocommit():
        note()
