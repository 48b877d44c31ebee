"""Blocks of tenants' models whose last write is known cost their statements alone."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models.signals import post_save, pre_save

from accounts.models import User
from blog.models import Post
from do_bridge import driver, tenant_context

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Undone(Exception):
    """What ends a block."""


@pytest.fixture
def inside(acme, in_both):
    """The author's key, while the tenant is current."""
    with tenant_context(acme):
        Post.objects.count()
        yield in_both


def trips_of(work):
    with driver.count_trips() as trips:
        value = work()
    return trips.count, value


def post(author, title="x"):
    return Post(title=title, content="…", user_id=author)


def test_get_or_create_takes_two_trips(inside):
    values = {"content": "…", "user_id": inside}
    trips, (made, created) = trips_of(lambda: Post.objects.get_or_create(title="x", defaults=values))
    assert (trips, created, made.pk is not None) == (2, True, True)
    trips, (found, created) = trips_of(lambda: Post.objects.get_or_create(title="x", defaults=values))
    assert (trips, created, found.pk) == (1, False, made.pk)


def test_update_or_create_takes_two_trips(inside):
    values = {"content": "…", "user_id": inside}
    trips, (made, created) = trips_of(lambda: Post.objects.update_or_create(title="x", defaults=values))
    assert (trips, created) == (2, True)
    trips, (found, created) = trips_of(
        lambda: Post.objects.update_or_create(title="x", defaults={"content": "new"})
    )
    assert (trips, created, found.pk) == (2, False, made.pk)
    assert Post.objects.get().content == "new"


def test_bulk_writes_take_one_trip(inside):
    trips, made = trips_of(lambda: Post.objects.bulk_create([post(inside, f"{n}") for n in range(500)]))
    assert (trips, len({row.pk for row in made})) == (1, 500)
    for row in made:
        row.title = "new"
    assert trips_of(lambda: Post.objects.bulk_update(made, ["title"])) == (1, 500)
    assert Post.objects.filter(title="new").count() == 500


def test_bulk_create_in_chunks_or_with_some_keys_commits_them_together(inside):
    rows = [post(inside) for _ in range(3)]
    assert trips_of(lambda: Post.objects.bulk_create(rows, batch_size=2))[0] == 3
    rows = [post(inside), Post(pk=900, title="x", content="…", user_id=inside)]
    assert trips_of(lambda: Post.objects.bulk_create(rows))[0] == 3
    rows = [
        Post(pk=901, title="x", content="…", user_id=inside),
        Post(pk=901, title="x", content="", user_id=1),
    ]
    with pytest.raises(IntegrityError, match="UNIQUE"):
        Post.objects.bulk_create(rows)
    assert Post.objects.count() == 5


def test_inside_a_block_the_block_commits(inside):
    with pytest.raises(Undone, match="undone"), transaction.atomic(using=tenant_alias_of()):
        Post.objects.bulk_create([post(inside)])
        Post.objects.get_or_create(title="y", defaults={"content": "…", "user_id": inside})
        raise Undone("undone")
    assert Post.objects.count() == 0
    with pytest.raises(Undone, match="undone"), transaction.atomic():
        Post.objects.bulk_create([post(inside)])
        raise Undone("undone")
    assert Post.objects.count() == 0


def tenant_alias_of():
    return Post.objects.all().db


def test_a_lost_race_is_found_as_ever(inside, monkeypatch):
    alias = tenant_alias_of()
    users = User.objects.using(alias)
    get, calls = type(users).get, []

    def miss_once(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise User.DoesNotExist
        return get(self, *args, **kwargs)

    monkeypatch.setattr(type(users), "get", miss_once)
    found, created = users.get_or_create(username="ada", defaults={"name": "another"})
    assert (found.pk, found.name, created) == (inside, "Ada", False)


def test_with_a_receiver_that_may_write_the_block_stays_whole(inside):
    def write(sender, instance, created, **kwargs):
        if instance.title == "x":
            Post.objects.create(title="by the receiver", content="…", user_id=inside)
            raise Undone("undone")

    post_save.connect(write, sender=Post)
    try:
        with pytest.raises(Undone, match="undone"):
            Post.objects.get_or_create(title="x", defaults={"content": "…", "user_id": inside})
    finally:
        post_save.disconnect(write, sender=Post)
    assert Post.objects.count() == 0


def test_a_callable_among_the_values_may_write(inside):
    def content():
        return Post.objects.create(title="by the callable", content="…", user_id=inside).title

    made, _ = Post.objects.get_or_create(title="x", defaults={"content": content, "user_id": inside})
    assert (made.content, Post.objects.count()) == ("by the callable", 2)


def test_a_receiver_may_write_the_same_table_first(inside):
    def receive(sender, instance, **kwargs):
        Post.objects.filter(content="first").update(content="not first")

    pre_save.connect(receive, sender=Post)
    try:
        for title in ("x", "y"):
            Post.objects.get_or_create(title=title, defaults={"content": "first", "user_id": inside})
    finally:
        pre_save.disconnect(receive, sender=Post)
    assert [post.content for post in Post.objects.order_by("pk")] == ["not first", "first"]
