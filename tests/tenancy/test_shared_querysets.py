"""Querysets that live longer than a request: at module and class level, in a Prefetch, as a default."""

import copy
import importlib
import pickle
import sys
import threading

import pytest
from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import (
    NoTenant,
    TenantMismatch,
    directory_context,
    tenant_alias,
    tenant_context,
)

POSTS = Post.objects.order_by("pk")
USERS = User.objects.filter(is_active=True)
EVALUATED = Post.objects.order_by("pk").prefetch_related("user")
WITH_USERS = Post.objects.order_by("pk").prefetch_related(Prefetch("user", queryset=USERS))
AUTHORS = Prefetch("user__posts", queryset=POSTS, to_attr="written")


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author and the same key in each tenant."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(pk=1, title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return in_both


def alias_of(tenant):
    return tenant_alias(tenant.slug)


def aliases_in(rows):
    return {row._state.db for row in rows}


def test_a_queryset_used_by_a_prefetch_is_not_bound_to_the_tenant_that_used_it_first(acme, zeta, posts):
    with tenant_context(acme):
        users = list(WITH_USERS.all())
        people = [post.user for post in users]
        prefetch_related_objects(people, Prefetch("posts", queryset=POSTS))
        assert aliases_in(people) | aliases_in(people[0].posts.all()) == {alias_of(acme)}
    with tenant_context(zeta):
        assert aliases_in(POSTS.all()) == {alias_of(zeta)}
        assert aliases_in(post.user for post in WITH_USERS.all()) == {alias_of(zeta)}
    with directory_context():
        assert aliases_in(USERS.all()) == {"default"}
        assert list(POSTS.all()) == []
    assert aliases_in(USERS.all()) == {"default"}


def test_a_shared_prefetch_object_serves_each_tenant_its_own_rows_at_every_level(acme, zeta, posts):
    for tenant in (acme, zeta, acme):
        with tenant_context(tenant):
            (post,) = Post.objects.prefetch_related(AUTHORS)
            assert aliases_in([post, post.user, *post.user.written]) == {alias_of(tenant)}
            nested = Prefetch("user", queryset=USERS.prefetch_related(Prefetch("posts", queryset=POSTS)))
            (post,) = POSTS.prefetch_related(nested)
            assert aliases_in([post.user, *post.user.posts.all()]) == {alias_of(tenant)}


class Interrupted(QuerySet):
    """Lets another tenant's page run between the moment a prefetch begins and the moment it is read."""

    meanwhile = None

    def filter(self, *args, **kwargs):
        found = super().filter(*args, **kwargs)
        if Interrupted.meanwhile:
            work, Interrupted.meanwhile = Interrupted.meanwhile, None
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(60)
        return found


def test_a_page_of_another_tenant_in_the_middle_of_a_prefetch_changes_nothing(acme, zeta, posts):
    shared = POSTS.prefetch_related(Prefetch("user", queryset=Interrupted(User)))
    seen = []

    def page_of_zeta():
        from django.db import connections

        with tenant_context(zeta):
            seen.extend(post.user for post in shared.all())
        connections.close_all()

    Interrupted.meanwhile = page_of_zeta
    with tenant_context(acme):
        users = [post.user for post in shared.all()]
    assert aliases_in(seen) == {alias_of(zeta)}
    assert aliases_in(users) == {alias_of(acme)}


def test_an_evaluated_module_level_queryset_has_each_tenants_rows(acme, zeta, posts):
    for tenant in (acme, zeta, acme):
        with tenant_context(tenant):
            assert EVALUATED
            assert len(EVALUATED) == EVALUATED.count() == 1
            (post,) = EVALUATED
            assert EVALUATED[0] is post
            assert post in EVALUATED
            assert EVALUATED.contains(post)
            assert aliases_in([post, post.user]) == {alias_of(tenant)}
            assert "user" in post._state.fields_cache
    with pytest.raises(NoTenant, match="no tenant is current"):
        list(EVALUATED)


def test_an_evaluated_module_level_queryset_reads_again_in_the_next_request(acme, posts, trips):
    with tenant_context(acme):
        assert [post.title for post in EVALUATED] == [f"Of {acme.slug}"]
        before = trips.count
        assert len(EVALUATED) == 1
        assert trips.count == before
        Post.objects.update(title="Changed")
    with tenant_context(acme):
        assert [post.title for post in EVALUATED] == ["Changed"]


def test_a_pickled_module_level_queryset_carries_no_tenants_rows(acme, zeta, posts):
    with tenant_context(acme):
        assert len(EVALUATED) == 1
        pickled = pickle.dumps(EVALUATED)
    with tenant_context(zeta):
        assert aliases_in(pickle.loads(pickled)) == {alias_of(zeta)}  # noqa: S301 - made just above


MODULE = """
from functools import partial
from django import forms
from django.db.models import Prefetch
from blog.models import Post

POSTS = Post.objects.order_by("pk")
NAMED = {"all": Post.objects.all()}
PART = partial(list, NAMED["all"])
LIST = [Post._default_manager.all(), Post._base_manager.filter(pk=1)]

class Form(forms.Form):
    post = forms.ModelChoiceField(queryset=Post.objects.all())

def listed(posts=Post.objects.all()):
    return list(posts.all())
"""


@pytest.fixture
def late_module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported yet."""
    name = f"late_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_module_imported_inside_a_request_belongs_to_no_tenant(acme, zeta, posts, late_module):
    with tenant_context(acme):
        module = importlib.import_module(late_module)
        assert aliases_in(module.POSTS.all()) == {alias_of(acme)}
    for tenant in (zeta, acme):
        with tenant_context(tenant):
            for rows in (
                module.POSTS,
                module.POSTS.all(),
                module.NAMED["all"].filter(pk=1),
                module.PART(),
                module.LIST[0],
                module.LIST[1],
                module.listed(),
            ):
                assert aliases_in(rows) == {alias_of(tenant)}
            labels = [str(label) for value, label in module.Form().fields["post"].choices if value]
            assert labels == [f"Of {tenant.slug}"]
            form = module.Form({"post": 1})
            assert form.is_valid()
            assert form.cleaned_data["post"]._state.db == alias_of(tenant)


def test_a_manager_that_keeps_one_queryset_gives_each_tenant_its_own(acme, zeta, posts):
    shared = QuerySet(Post)
    kept = copy.copy(Post._default_manager)
    kept._queryset_class = lambda **kwargs: shared
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            assert aliases_in(kept.all()) == {alias_of(tenant)}
            assert shared._db is None


def test_a_queryset_made_in_one_tenant_writes_nothing_while_another_is_current(acme, zeta, posts):
    with tenant_context(acme):
        made = Post.objects.order_by("pk")
    with tenant_context(zeta):
        for write in (lambda: made.update(title="Leaked"), made.delete, lambda: made.create(title="Leaked")):
            with pytest.raises(TenantMismatch, match=alias_of(acme)):
                write()
        assert Post.objects.using(alias_of(acme)).update(title="Meant") == 1
    assert [post.title for post in made] == ["Meant"]


def test_a_row_of_d1s_own_table_is_not_saved_into_a_tenant(acme, zeta, posts, author):
    shared = Post.objects.using("default").create(title="D1's", content="…", user_id=author.pk)
    with tenant_context(acme):
        for write in (shared.save, shared.delete):
            with pytest.raises(TenantMismatch, match="default"):
                write()
        assert Post.objects.count() == 1
        shared.refresh_from_db()
        assert shared.title == "D1's"


def test_a_prefetch_bound_to_d1_is_refused_on_a_tenants_rows(acme, posts):
    with directory_context():
        prefetch = Prefetch("user__posts", queryset=Post.objects.all())
    with tenant_context(acme), pytest.raises(TenantMismatch, match="'default'"):
        list(Post.objects.prefetch_related(prefetch))


def test_a_module_level_queryset_that_has_written_serves_a_prefetch_for_rows_of_another_tenant(
    acme, zeta, posts
):
    with tenant_context(acme):
        author = User.objects.using(alias_of(acme)).get(pk=posts)
        POSTS.create(title="Written", content="…", user_id=posts)
    with tenant_context(zeta):
        prefetch_related_objects([author], Prefetch("posts", queryset=POSTS))
    assert [post.title for post in author.posts.all()] == [f"Of {acme.slug}", "Written"]
