"""Many tenants in one thread: few connections are kept, and each answers for its own tenant."""

import random
import threading

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.testing import empty_object, unique_slug

TABLE = "CREATE TABLE whose (slug TEXT)"


@pytest.fixture
def hundred(db):
    slugs = [unique_slug("many") for _ in range(100)]
    yield slugs
    for slug in slugs:
        empty_object(tenant_alias(slug))


def run_in_thread(function):
    results = []

    def target():
        try:
            results.append(function())
        finally:
            connections.close_all()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(100)
    return results[0]


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 8})
def test_a_hundred_tenants_in_one_thread_keep_few_connections_and_their_own_answers(hundred):
    def work():
        most, wrong = 0, []
        for slug in hundred:
            with connections[tenant_alias(slug)].cursor() as cursor:
                cursor.execute(TABLE)
                cursor.execute("INSERT INTO whose VALUES (%s)", [slug])
        for slug in random.Random(7).choices(hundred, k=200):  # noqa: S311
            with tenant_context(slug), connections[tenant_alias(slug)].cursor() as cursor:
                cursor.execute("SELECT slug FROM whose")
                if cursor.fetchall() != [(slug,)]:
                    wrong.append(slug)
            most = max(most, len(tenant_databases().live_aliases()))
        return most, wrong

    assert run_in_thread(work) == (8, [])


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 1})
def test_a_connection_that_gave_way_does_not_stop_what_is_read_from_it(acme, zeta, in_both):
    with tenant_context(acme):
        Post.objects.bulk_create(
            [Post(title=str(number), content="-", user_id=in_both) for number in range(9)]
        )

    def work():
        titles = []
        with tenant_context(acme):
            for post in Post.objects.order_by("pk").iterator(chunk_size=2):
                with tenant_context(zeta):
                    assert not Post.objects.exists()
                titles.append(post.title)
                assert post.user.pk == in_both
        return titles

    assert run_in_thread(work) == [str(number) for number in range(9)]
