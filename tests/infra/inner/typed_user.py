"""A user's module: test_public_api has mypy read it, as strictly as it can, and nothing runs it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, assert_type

import do_bridge
from do_bridge import (
    TenantDatabases,
    alias_slug,
    batch,
    create_tenant,
    current_tenant,
    database_url,
    directory_context,
    driver,
    register_tenant,
    tenant_alias,
    tenant_context,
    unset_context,
    validate_slug,
)
from do_bridge.admin import DirectoryAdminSite, TenantInlineMixin, TenantModelAdmin, tenant_site
from do_bridge.contrib.cache import directory_key, tenant_key
from do_bridge.exceptions import CodeTooOld, InvalidSlug, LeaseError, NoTenant, TenancyError, TenantKept
from do_bridge.members.copies import write_copies
from do_bridge.members.syncing import CopyFailed, add_member, out_of_sync, remove_member, sync_members
from do_bridge.relay import LocalRelay
from do_bridge.signals import tenant_filled, tenant_used
from do_bridge.tenancy.schema.replay import directory_only
from do_bridge.testing import (
    RestoreRows,
    TenantClient,
    TenantTestCase,
    empty_object,
    make_test_tenant,
    provision_test_tenant,
    unique_slug,
)

DATABASES = TenantDatabases({"default": database_url.parse("d1://:token@relay/id")})
database_url.register()
assert_type(DATABASES.template, str)
assert_type(do_bridge.__version__, str)
assert_type(alias_slug("tenant/acme"), str | None)


def move_posts(source: str, target: str) -> str | None:
    """Use contexts, batches and exceptions."""
    try:
        with tenant_context(validate_slug(source)) as scope, batch():
            assert_type(scope.is_tenant, bool)
            assert_type(current_tenant(), str | None)
        with directory_context(), unset_context(), batch(using=tenant_alias(target)):
            pass
    except (NoTenant, InvalidSlug, CodeTooOld, TenantKept) as error:
        return str(error)
    except (TenancyError, LeaseError):
        return None
    return register_tenant(target)


@tenant_context("acme")
def count(limit: int) -> int:
    return limit


@directory_context()
async def count_later(limit: int) -> int:
    return limit


assert_type(count(3), int)


def sign_up(slug: str, fields: dict[str, object]) -> bool:
    """Make a tenant."""
    _row, is_new, how = create_tenant(slug, "Acme", fields=fields)
    assert_type(how, str)
    return is_new


def join(user: object, tenant: object) -> int:
    """Use members."""
    try:
        add_member(user, tenant, role="guest")
        remove_member(user, tenant)
        write_copies([user], "tenant/acme", are_members=False)
    except CopyFailed:
        return len(out_of_sync())
    return sync_members(tenant)


@directory_only
def after_migrate(sender: object, **kwargs: object) -> None:
    """Write to D1 alone."""


def ask(url: str, token: str) -> list[Any]:
    """Use the driver alone."""
    connection = driver.connect(driver.relay(url, token), "do:tenant/acme")
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    return list(cursor.fetchall())


class PostAdmin(TenantModelAdmin):
    """Override methods and call those of the base."""

    def save_model(self, request: Any, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)

    def copy_user(self, user: Any, alias: str) -> None:
        super().copy_user(user, alias)


class CommentInline(TenantInlineMixin):
    """A mixin of the admin."""


class Site(DirectoryAdminSite):
    """A subclass of an admin site."""

    def each_context(self, request: Any) -> Any:
        return super().each_context(request)


class PostTests(TenantTestCase):
    """A test case."""

    tenant_slug = "acme"

    def test_a_page(self) -> None:
        """Use the client."""
        TenantClient("acme").get("/posts/")


class RowTests(RestoreRows):
    """A mixin of test cases."""


def in_tests() -> Iterator[str]:
    """Use the helpers for tests."""
    with make_test_tenant(unique_slug(), plan="free"), provision_test_tenant() as slug:
        assert_type(slug, str)
        empty_object(tenant_alias(slug))
        yield slug


def run_relay() -> str:
    """Run the relay."""
    with LocalRelay() as relay:
        return relay.url


Key = Callable[[str, str, int], str]
KEYS: tuple[Key, Key] = (tenant_key, directory_key)
CONTEXT: AbstractContextManager[None] = batch()
USED = [tenant_site, tenant_used, tenant_filled]
