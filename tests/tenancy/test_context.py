"""The current tenant: three states, restored whatever happens, apart in threads and tasks."""

import asyncio
import contextvars
import functools
import threading

import pytest
from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import transaction

from do_bridge.tenancy import (
    InvalidSlug,
    OpenTransaction,
    current,
    current_tenant,
    directory_context,
    tenant_alias,
    tenant_context,
    unset_context,
)


def test_nothing_is_current_at_first():
    assert current_tenant() is None
    assert current().alias is None
    assert not current().is_tenant
    assert not current().is_directory


def test_a_tenant_is_current_inside_its_context_and_not_after_it():
    with tenant_context("acme") as scope:
        assert current_tenant() == "acme"
        assert scope.alias == "tenant/acme"
        assert current().is_tenant
    assert current_tenant() is None


def test_contexts_nest_and_restore_what_was_before():
    with tenant_context("acme"):
        with directory_context():
            assert current().is_directory
            assert current().alias == "default"
            assert current_tenant() is None
            with tenant_context("zeta"):
                assert current_tenant() == "zeta"
        with unset_context():
            assert current().alias is None
        assert current_tenant() == "acme"


def test_a_generator_is_not_decorated_since_its_pieces_would_be_its_callers():
    def pieces():
        yield current_tenant()

    async def async_pieces():
        yield current_tenant()

    for generator in (pieces, async_pieces, functools.partial(pieces)):
        with pytest.raises(TypeError, match="generator function"):
            tenant_context("acme")(generator)


def test_a_function_that_is_marked_as_a_coroutine_function_runs_in_its_tenant():
    async def work():
        return current_tenant()

    # As Django marks its views; before Python 3.12 the standard library does not look at it.
    marked = markcoroutinefunction(lambda: work())

    async def main():
        with tenant_context("zeta"):
            return await tenant_context("acme")(marked)(), current_tenant()

    assert asyncio.run(main()) == ("acme", "zeta")


def test_a_generator_that_is_closed_late_takes_no_tenant_away_and_brings_none_back():
    def pieces(tenant):
        with tenant_context(tenant):
            yield current_tenant()
            yield current_tenant()

    with tenant_context("acme"):
        abandoned = pieces("zeta")
        assert next(abandoned) == "zeta"
        with tenant_context("beta"):
            abandoned.close()
            assert current_tenant() == "beta"
        assert current_tenant() == "acme"
    assert current_tenant() is None


def test_a_generator_that_is_closed_elsewhere_changes_nothing_there():
    def pieces():
        with tenant_context("zeta"):
            yield

    with tenant_context("acme"):
        abandoned = pieces()
        contextvars.copy_context().run(next, abandoned)
        with tenant_context("beta"):
            abandoned.close()
            assert current_tenant() == "beta"
        assert current_tenant() == "acme"


def test_one_manager_may_be_entered_by_two_threads():
    shared = tenant_context("acme")
    entered, left = threading.Event(), threading.Event()
    seen = []

    def other():
        with tenant_context("zeta"), shared:
            entered.set()
            left.wait(30)
        seen.append(current_tenant())

    thread = threading.Thread(target=other)
    with shared:
        thread.start()
        entered.wait(30)
    seen.append(current_tenant())
    left.set()
    thread.join(30)
    assert seen == [None, None]


def test_an_exception_restores_what_was_before():
    with directory_context():
        with pytest.raises(KeyError, match="^$"), tenant_context("acme"):
            raise KeyError
        assert current().is_directory


def test_anything_with_a_slug_is_a_tenant():
    class Row:
        slug = "acme"

    with tenant_context(Row()):
        assert current_tenant() == "acme"


@pytest.mark.parametrize("tenant", ["../acme", "ACME", None, object(), 7])
def test_what_is_no_tenant_never_becomes_current(tenant):
    with pytest.raises(InvalidSlug, match="63"):
        tenant_context(tenant)
    assert current_tenant() is None


def test_one_context_object_can_be_entered_twice():
    context = tenant_context("acme")
    with context, context:
        assert current_tenant() == "acme"
    assert current_tenant() is None


def test_it_decorates_functions_and_coroutine_functions():
    @tenant_context("acme")
    def plain():
        return current_tenant()

    @tenant_context("zeta")
    async def coroutine():
        await asyncio.sleep(0)
        return current_tenant()

    assert plain() == "acme"
    assert asyncio.run(coroutine()) == "zeta"
    assert current_tenant() is None


def test_a_new_thread_starts_with_nothing_current():
    seen = []
    with tenant_context("acme"):
        thread = threading.Thread(target=lambda: seen.append(current_tenant()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_async_tasks_keep_their_tenants_apart_and_take_them_into_sync_code():
    async def work(slug, own, other):
        async with tenant_context(slug):
            own.set()
            await other.wait()  # both are inside their contexts now
            return current_tenant(), await sync_to_async(current_tenant)()

    async def both():
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(work("acme", one, two), work("zeta", two, one))

    assert asyncio.run(both()) == [("acme", "acme"), ("zeta", "zeta")]


def test_another_tenant_cannot_be_entered_inside_a_transaction(acme, zeta):
    with tenant_context(acme), transaction.atomic(using=tenant_alias(acme.slug)):
        with pytest.raises(OpenTransaction, match="open transaction") as caught, tenant_context(zeta):
            pass
        assert f"tenant/{zeta.slug}" in str(caught.value)
        assert current_tenant() == acme.slug
        with tenant_context(acme):
            assert current_tenant() == acme.slug
    with tenant_context(zeta):
        assert current_tenant() == zeta.slug


def test_a_test_cases_own_transaction_does_not_count(acme, zeta):
    block = transaction.atomic(using=tenant_alias(acme.slug))
    block._from_testcase = True
    with tenant_context(acme), block, tenant_context(zeta):
        assert current_tenant() == zeta.slug
