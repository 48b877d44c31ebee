"""Leaks on purpose: a checker that does not find these finds nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tests.leak.marks import mark


class _ModuleGlobal:
    """Stands for a ContextVar, and is the same for every thread and task."""

    def __init__(self) -> None:
        self.value: tuple[Any, ...] = ()

    def get(self) -> tuple[Any, ...]:
        return self.value

    def set(self, value: tuple[Any, ...]) -> None:
        self.value = value


def current_tenant_for_all() -> None:
    """Let the current tenant be a global of the module."""
    from do_bridge.tenancy import context

    context._blocks = _ModuleGlobal()


def stale_tenant() -> None:
    """Let the managers take one alias in ten from their memory."""
    from do_bridge.tenancy.orm import managers
    from do_bridge.tenancy.orm.aliases import BoundAlias

    bound_alias = managers._bound_alias
    asked: list[Any] = [0, None]

    def stale(manager: Any) -> Any:
        alias = bound_alias(manager)
        if alias is None:
            return None
        asked[0] += 1
        if asked[0] % 10:
            return alias
        before, asked[1] = asked[1], alias
        # Not as the context's, which would be refused in another one.
        return BoundAlias(before) if before else alias

    managers._bound_alias = stale


def old_prefetches() -> None:
    """Let Django add the first row as a hint to the queryset of a `Prefetch`, and routers believe hints.

    This is how the check was once: it looks at the alias of that queryset and binds nothing. A queryset that
    has none is read where its hint says, and only without one by the context.
    """
    from django.db.models import QuerySet

    from do_bridge.tenancy.context import TenantMismatch
    from do_bridge.tenancy.orm import relations
    from do_bridge.tenancy.orm.querysets import BoundQuerySet
    from do_bridge.tenancy.slugs import is_tenant_side

    def unbound(queryset: Any, row: Any) -> Any:
        own, other = queryset._db, row._state.db
        if None not in (own, other) and own != other and is_tenant_side(own) and is_tenant_side(other):
            raise TenantMismatch(f"A Prefetch made for {own!r}.")
        return queryset

    relations._for_row = unbound
    BoundQuerySet.db = property(lambda self: str(QuerySet.db.fget(self)))
    BoundQuerySet._fetch_all = lambda self: QuerySet._fetch_all(self)


def answers_of_others() -> None:
    """Let the transport send one request in thirty to the database that was asked before."""
    from do_bridge.driver.transports.relay import RelayTransport

    batch = RelayTransport.batch
    asked: list[Any] = [0, None]

    def astray(self: RelayTransport, database: str, *args: Any, **options: Any) -> Any:
        asked[0] += 1
        before, asked[1] = asked[1], database
        if asked[0] % 30 == 0 and before and before.startswith("do:") and database.startswith("do:"):
            database = before
        return batch(self, database, *args, **options)

    RelayTransport.batch = astray


def moves_without_freezing() -> None:
    """Let tenants be used while their rows are copied into another object."""
    from do_bridge.tenancy.lifecycle.fencing import read_object
    from do_bridge.tenancy.lifecycle.transfer import moving

    moving.freeze = lambda connection, lease: read_object(connection)


def old_places() -> None:
    """Let a process believe for ever in the place of a tenant that it has read first."""
    from do_bridge.tenancy import places

    class Once(OrderedDict[str, Any]):
        def __setitem__(self, slug: str, place: Any) -> None:
            if slug not in self:
                super().__setitem__(slug, place)

    places._known = Once()


def unfenced_erasures() -> None:
    """Let an erasure take whatever is in the object, a newer tenant's rows too."""
    from do_bridge.tenancy.lifecycle import emptying

    erase = emptying.erase
    emptying.erase = lambda connection, fence: erase(connection, emptying.NO_FENCE)


def former_moments() -> None:
    """Let a tenant be restored to what the slug's former tenant had, and look afterwards."""
    from do_bridge.tenancy.lifecycle.history import bookmarks

    bookmarks.is_of_former_life = lambda row, bookmark: False


class RemembersPages:
    """A cache of pages whose key lacks the tenant."""

    pages: dict[str, bytes] = {}

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        is_page = request.method == "GET" and response.status_code == 200 and not response.streaming
        if is_page and getattr(request, "tenant", None):
            response.content = self.pages.setdefault(request.path_info, response.content)
        return response


def stray_row(cast: Any) -> None:
    """Write one tenant's post into another's object."""
    from blog.models import Post
    from do_bridge.tenancy import tenant_alias

    whose, where = cast.slugs[:2]
    fields = {"title": mark(whose), "content": mark(whose), "user_id": cast.several}
    Post.objects.using(tenant_alias(where)).create(**fields)


def install(name: str) -> None:
    """Make the leak of this name in this process; the pages' is put into the site by its settings."""
    makers = {
        "context": current_tenant_for_all,
        "managers": stale_tenant,
        "prefetches": old_prefetches,
        "transport": answers_of_others,
        "freeze": moves_without_freezing,
        "places": old_places,
        "fence": unfenced_erasures,
        "former": former_moments,
    }
    if name in makers:
        makers[name]()


#: The leaks, the roles that must find each, and within how many operations: some 20 are mixed up then.
PLANTS = {
    "context": (["threads"], 50),
    "managers": (["threads"], 1000),
    "prefetches": (["threads"], 700),
    "transport": (["tasks"], 700),
    "pages": (["pages"], 30),
}
#: The same of tenants with several lives, which takes minutes.
SLOW_PLANTS = {
    "freeze": (["lives", "keepers"], 2000),
    "places": (["lives", "keepers"], 400),
    "fence": (["lives", "keepers"], 2000),
    "former": (["lives", "keepers"], 2000),
}
