"""Which tenant is current: unset, a tenant, or the directory; for threads and async tasks alike."""

import inspect
from contextlib import ContextDecorator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from weakref import WeakKeyDictionary

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.urls import set_urlconf

from do_bridge.backends.remote_sqlite.blocks import linked

from . import addresses
from .conf import conf
from .slugs import alias_slug, tenant_alias


class TenancyError(Exception):
    """Base of the errors about the current tenant."""


class NoTenant(TenancyError):
    """Tenant data was asked for while no tenant is current."""


class TenantMismatch(TenancyError):
    """A row of one database was to be written while another one is current."""


class OpenTransaction(TenancyError):
    """Another tenant was to become current inside a transaction of the current one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One state of the context: `alias` is the database that tenant models use, None when unset."""

    slug: str | None = None
    alias: str | None = None
    is_migration: bool = False

    @property
    def is_tenant(self):
        """True while a tenant is current."""
        return self.slug is not None

    @property
    def is_directory(self):
        """True while the directory's own rows are worked on."""
        return self.slug is None and self.alias is not None


UNSET = Scope()


@dataclass(frozen=True, slots=True)
class Block:
    """One open block: its manager, its scope, and the addresses around it and inside it."""

    manager: object
    scope: Scope
    before: addresses.Address
    inside: addresses.Address


# The Blocks that this thread or task is in, outermost first.
_blocks: ContextVar[tuple] = ContextVar("do_bridge_blocks", default=())


def current():
    """Return the Scope of this thread or task."""
    blocks = _blocks.get()
    return blocks[-1].scope if blocks else UNSET


def current_block():
    """Return the innermost context manager that is open in this thread or task, or None."""
    blocks = _blocks.get()
    return blocks[-1].manager if blocks else None


def current_request():
    """Return the request that this thread or task serves, or None."""
    for block in reversed(_blocks.get()):
        if block.manager.request is not None:
            return block.manager.request
    return None


def current_tenant():
    """Return the current tenant's slug, or None when no tenant is current."""
    return current().slug


class _ScopeContext(ContextDecorator):
    """Makes a scope current for a `with` or `async with` block, or for a decorated (async) function."""

    def __init__(self, scope, base=None, is_checked=True):
        self.scope = scope
        #: The server's script prefix, if this is a request's block.
        self.base = base
        #: Whether another tenant's open transaction refuses this block.
        self.is_checked = is_checked
        #: The request that this block serves, if it is a request's.
        self.request = None
        #: The rows of querysets that no database was chosen for, as read in this block; see `unbound`.
        self.results = WeakKeyDictionary()

    def _recreate_cm(self):
        return type(self)(self.scope, is_checked=self.is_checked)

    def __call__(self, func):
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            # Its pieces are made when the caller takes them, in whatever is current there.
            raise TypeError(
                "This is a generator function: its pieces are made outside of a decorator's block. Enter the "
                "context inside it and leave it before each yield, or name the alias by using()."
            )
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @wraps(func)
        async def inner(*args, **kwargs):
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return inner

    def __enter__(self):
        if self.is_checked:
            _refuse_open_transaction(current(), self.scope)
        blocks = _blocks.get()
        before = addresses.current()
        inside = None if self.base else addresses.inside(self.scope, blocks)
        if inside is not None:
            addresses.set_current(inside)
        _blocks.set((*blocks, Block(self, self.scope, before, inside or before)))
        return self.scope

    def __exit__(self, *exc_info):
        # This block alone: a generator may be closed late, inside another tenant's block or in another task,
        # and one manager may be entered by several threads.
        blocks = _blocks.get()
        for place in range(len(blocks) - 1, -1, -1):
            if blocks[place].manager is self:
                self._leave(blocks, place)
                return

    def _leave(self, blocks, place):
        left, later = blocks[place], blocks[place + 1 :]
        if later:
            # Whoever leaves the next one gets back what was before both.
            later = (replace(later[0], before=left.before), *later[1:])
        elif not self.base:
            addresses.set_current(left.before)
        _blocks.set((*blocks[:place], *later))

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *exc_info):
        self.__exit__(*exc_info)


def tenant_context(tenant):
    """Make a tenant current: a slug, or anything with a `.slug`. Raises InvalidSlug, OpenTransaction.

    `reverse()` inside makes the tenant's URLs, with its path before them. Works in `with`, `async with` and
    as a decorator of functions and coroutine functions, not of generators.
    """
    slug = tenant if isinstance(tenant, str) else getattr(tenant, "slug", None)
    return _ScopeContext(Scope(slug, tenant_alias(slug)))


def directory_context():
    """Make the directory current: tenant models then mean the shared database's own rows."""
    return _ScopeContext(Scope(None, conf("DIRECTORY_ALIAS")))


def migration_context(alias):
    """Make `alias` current while it is migrated: all models of migrations then mean its own tables."""
    return _ScopeContext(Scope(alias_slug(alias), alias, is_migration=True))


def scope_context(scope):
    """Make a Scope current inside Django's own work, where a transaction of another tenant may be open."""
    return _ScopeContext(scope, is_checked=False)


def unset_context():
    """Make no tenant current, whatever was before."""
    return _ScopeContext(UNSET)


def request_context(tenant, is_directory, base, request=None):
    """Make current what a request is for; the caller sets its script prefix, of which `base` is the server's.

    `tenant` is its tenant's row or None; `is_directory` says which of the two other states it has.
    """
    if tenant is not None:
        scope = Scope(tenant.slug, tenant_alias(tenant.slug))
    else:
        scope = Scope(None, conf("DIRECTORY_ALIAS")) if is_directory else UNSET
    context = _ScopeContext(scope, base)
    context.request = request
    return context


def keep_urlconf(**kwargs):
    """Set the URLconf of the innermost block again: at a request's end Django sets none.

    Django's test client serves requests inside a test's own block.
    """
    if blocks := _blocks.get():
        set_urlconf(blocks[-1].inside.urlconf)


def _refuse_open_transaction(previous, scope):
    """Raise OpenTransaction when `scope` is another tenant and the current one's alias has an open block."""
    if not (previous.is_tenant and scope.is_tenant) or previous.slug == scope.slug:
        return
    if linked.has_open_block() or _has_open_block(previous.alias):
        raise OpenTransaction(
            f"Tenant {previous.slug!r} has an open transaction, inside which {scope.slug!r} can't become "
            "current: a transaction is one tenant's. Leave the atomic block first, or name the other "
            f"database with using={scope.alias!r}."
        )


def _has_open_block(alias):
    # Only a wrapper that this thread has made already can hold a block: never make one to look.
    connection = getattr(connections._connections, alias, None)
    if connection is None or not connection.in_atomic_block:
        return False
    # Test cases wrap whole tests in blocks of their own, which Django marks.
    return any(not block._from_testcase for block in connection.atomic_blocks)
