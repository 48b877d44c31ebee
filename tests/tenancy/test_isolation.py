"""Two tenants at once, in threads and in async tasks, on real objects."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from blog.models import Post
from do_bridge.tenancy import current_tenant, tenant_alias, tenant_context

ROUNDS = 8


def titles(tenant):
    with tenant_context(tenant):
        return sorted(Post.objects.values_list("title", flat=True))


def expected(tenant):
    return sorted(f"{tenant.slug} {number}" for number in range(ROUNDS))


def test_two_threads_over_two_tenants_never_see_each_other(acme, zeta, in_both):
    barrier = threading.Barrier(2, timeout=30)
    failures = []

    def write(tenant):
        try:
            with tenant_context(tenant):
                for number in range(ROUNDS):
                    barrier.wait()
                    with transaction.atomic(using=tenant_alias(tenant.slug)):
                        Post.objects.create(title=f"{tenant.slug} {number}", content="-", user_id=in_both)
                        found = set(Post.objects.values_list("title", flat=True))
                    if len(found) != number + 1 or any(not title.startswith(tenant.slug) for title in found):
                        failures.append((tenant.slug, found))
        except Exception as error:
            failures.append((tenant.slug, error))
            barrier.abort()
        finally:
            connections[tenant_alias(tenant.slug)].close()

    threads = [threading.Thread(target=write, args=(tenant,)) for tenant in (acme, zeta)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert titles(acme) == expected(acme)
    assert titles(zeta) == expected(zeta)


def test_two_async_tasks_over_two_tenants_never_see_each_other(acme, zeta, in_both):
    async def write(tenant, own, other):
        async with tenant_context(tenant):
            for number in range(ROUNDS):
                own.set()
                await other.wait()
                await Post.objects.acreate(title=f"{tenant.slug} {number}", content="-", user_id=in_both)
                assert current_tenant() == tenant.slug
                found = [title async for title in Post.objects.values_list("title", flat=True)]
                assert found
                assert all(title.startswith(tenant.slug) for title in found)

    async def both():
        one, two = asyncio.Event(), asyncio.Event()
        await asyncio.gather(write(acme, one, two), write(zeta, two, one))

    asyncio.run(both())
    assert titles(acme) == expected(acme)
    assert titles(zeta) == expected(zeta)


def test_a_task_started_inside_a_tenant_keeps_it(acme, zeta, in_both):
    async def count():
        return await Post.objects.acount()

    async def main():
        async with tenant_context(acme):
            await Post.objects.acreate(title="one", content="-", user_id=in_both)
            task = asyncio.create_task(count())
        async with tenant_context(zeta):
            return await task, await count(), await sync_to_async(Post.objects.count)()

    assert asyncio.run(main()) == (1, 0, 0)


@pytest.mark.parametrize("fails", [False, True])
def test_a_transaction_of_one_tenant_leaves_the_other_alone(acme, zeta, in_both, fails):
    with tenant_context(zeta):
        Post.objects.create(title="kept", content="-", user_id=in_both)
    try:
        with tenant_context(acme), transaction.atomic(using=tenant_alias(acme.slug)):
            Post.objects.create(title="maybe", content="-", user_id=in_both)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert titles(acme) == ([] if fails else ["maybe"])
    assert titles(zeta) == ["kept"]
