"""The current tenant of a thread or task.

A context is unset, a tenant, or the shared database (the directory).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import connections
from django.urls import set_urlconf

from do_bridge.backends.decorating import BlockDecorator
from do_bridge.backends.remote_sqlite.blocks import linked

from . import addresses
from .conf import conf
from .slugs import alias_slug, tenant_alias


class TenancyError(Exception):
    """The base class of errors about the current tenant."""


class NoTenant(TenancyError):
    """Tenant data was read or written while no tenant is current."""


class TenantMismatch(TenancyError):
    """Rows or querysets of one database were used in another one."""


class OpenTransaction(TenancyError):
    """A tenant's context was entered inside an open transaction of another tenant."""


class Scope(NamedTuple):
    """A state of the context.

    `alias` is the database that tenant models use, or None if unset.
    """

    slug: str | None = None
    alias: str | None = None
    is_migration: bool = False

    @property
    def is_tenant(self) -> bool:
        """Whether a tenant is current."""
        return self.slug is not None

    @property
    def is_directory(self) -> bool:
        """Whether tenant models use the shared database's own rows."""
        return self.slug is None and self.alias is not None


UNSET = Scope()


class Block(NamedTuple):
    """An open block: its context manager, its scope and its addresses.

    `before` is the address around the block, `inside` the one in it.
    """

    manager: object
    scope: Scope
    before: addresses.Address
    inside: addresses.Address


# The open Blocks of this thread or task, outermost first.
_blocks: ContextVar[tuple] = ContextVar("do_bridge_blocks", default=())


def current() -> Scope:
    """Return the Scope of this thread or task."""
    blocks = _blocks.get()
    return blocks[-1].scope if blocks else UNSET


def current_block():
    """Return the innermost open context manager of this thread or task, or None."""
    blocks = _blocks.get()
    return blocks[-1].manager if blocks else None


def current_request():
    """Return the request that this thread or task serves, or None."""
    for block in reversed(_blocks.get()):
        if block.manager.request is not None:
            return block.manager.request
    return None


def current_tenant() -> str | None:
    """Return the current tenant's slug, or None if no tenant is current."""
    return current().slug


class _ScopeContext(BlockDecorator):
    """Make a scope current for a block or a decorated function.

    The block may be `with` or `async with`, the function may be a coroutine function.
    """

    refuses_generators = (
        "A tenancy context can't decorate a generator function, because its body runs after the decorator "
        "has returned. Use `with` inside the function around the code between two yields, or choose the "
        "database with using()."
    )

    def __init__(self, scope: Scope, base: str | None = None, is_checked: bool = True) -> None:
        self.scope = scope
        #: The server's script prefix, if this is a request's block.
        self.base = base
        #: Whether to raise OpenTransaction inside another tenant's transaction.
        self.is_checked = is_checked
        #: The request that this block serves, if it is a request's.
        self.request = None
        #: The rows of querysets without a database, as read in this block; see `orm.results`.
        self.results = WeakKeyDictionary()

    def _recreate_cm(self) -> _ScopeContext:
        return type(self)(self.scope, is_checked=self.is_checked)

    def __enter__(self) -> Scope:
        if self.is_checked:
            _refuse_open_transaction(current(), self.scope)
        blocks = _blocks.get()
        before = addresses.current()
        inside = None if self.base else addresses.inside(self.scope, blocks)
        if inside is not None:
            addresses.set_current(inside)
        _blocks.set((*blocks, Block(self, self.scope, before, inside or before)))
        return self.scope

    def __exit__(self, *exc_info: object) -> None:
        # Remove only this block: a generator may be closed late, inside another tenant's block or in another
        # task, and several threads may enter one manager.
        blocks = _blocks.get()
        for place in range(len(blocks) - 1, -1, -1):
            if blocks[place].manager is self:
                self._leave(blocks, place)
                return

    def _leave(self, blocks, place):
        left, later = blocks[place], blocks[place + 1 :]
        if later:
            # The next block restores the address from before both blocks.
            later = (later[0]._replace(before=left.before), *later[1:])
        elif not self.base:
            addresses.set_current(left.before)
        _blocks.set((*blocks[:place], *later))

    async def __aenter__(self) -> Scope:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)


def tenant_context(tenant: Any) -> _ScopeContext:
    """Make a tenant current, given its slug or an object with a `.slug`.

    Use it with `with`, `async with`, or as a decorator of functions and coroutine functions (not generators).
    Inside it `reverse()` returns the tenant's URLs. Raises InvalidSlug, and OpenTransaction inside another
    tenant's transaction.
    """
    slug = tenant if isinstance(tenant, str) else getattr(tenant, "slug", None)
    return _ScopeContext(Scope(slug, tenant_alias(slug)))


def directory_context() -> _ScopeContext:
    """Make tenant models use the shared database's own rows.

    Use it like `tenant_context`, for example in commands that work on D1 alone.
    """
    return _ScopeContext(Scope(None, conf("DIRECTORY_ALIAS")))


def migration_context(alias: str) -> _ScopeContext:
    """Make `alias` current while it is migrated.

    All models of its migrations then use its own tables.
    """
    return _ScopeContext(Scope(alias_slug(alias), alias, is_migration=True))


def scope_context(scope: Scope) -> _ScopeContext:
    """Make a Scope current for Django's own work.

    It is allowed inside another tenant's transaction.
    """
    return _ScopeContext(scope, is_checked=False)


def unset_context() -> _ScopeContext:
    """Make no tenant current inside the block."""
    return _ScopeContext(UNSET)


def request_context(tenant, is_directory, base, request=None):
    """Make current what a request is for.

    `tenant` is the tenant's row or None. Without a tenant, `is_directory` selects the directory instead of
    unset. `base` is the server's own script prefix; the caller sets the whole prefix.
    """
    if tenant is not None:
        scope = Scope(tenant.slug, tenant_alias(tenant.slug))
    else:
        scope = Scope(None, conf("DIRECTORY_ALIAS")) if is_directory else UNSET
    context = _ScopeContext(scope, base)
    context.request = request
    return context


def keep_urlconf(**kwargs):
    """Restore the URLconf of the innermost block at the end of a request.

    Django's test client serves requests inside a test's own block.
    """
    if blocks := _blocks.get():
        set_urlconf(blocks[-1].inside.urlconf)


def _refuse_open_transaction(previous, scope):
    """Raise OpenTransaction inside an open transaction of another tenant."""
    if not (previous.is_tenant and scope.is_tenant) or previous.slug == scope.slug:
        return
    if linked.has_open_block() or has_open_block(previous.alias):
        raise OpenTransaction(
            f"Tenant {scope.slug!r} can't become current inside an open transaction of tenant "
            f"{previous.slug!r}. Leave the atomic block first, or choose the other database with "
            f"using({scope.alias!r})."
        )


def has_open_block(alias):
    """Return whether this thread has an open block on a database.

    The blocks of a TestCase do not count.
    """
    # Look only at an existing wrapper, because creating one is not needed to know that it has no block.
    connection = getattr(connections._connections, alias, None)
    if connection is None or not connection.in_atomic_block:
        return False
    return any(not block._from_testcase for block in connection.atomic_blocks)
