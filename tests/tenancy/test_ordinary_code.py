"""Code as projects and packages write it, which somebody tried who had read only the documentation."""

import importlib
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from django import forms
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.forms import modelform_factory
from django.shortcuts import get_object_or_404
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership, User
from blog.models import Post
from do_bridge.tenancy import (
    NoTenant,
    TenantMismatch,
    current_tenant,
    directory_context,
    tenant_alias,
    tenant_context,
)

RAW = Post.objects.raw("SELECT * FROM blog_post ORDER BY id")


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author and the same key in each tenant."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(pk=1, title=f"Of {tenant.slug}", content=tenant.slug, user_id=in_both)
    return in_both


def titles(rows):
    return sorted(row.title for row in rows)


def of(tenant):
    return Post.objects.using(tenant_alias(tenant.slug))


@lru_cache
def kept_raw():
    return Post.objects.raw("SELECT * FROM blog_post")


@pytest.mark.parametrize("read", [list, len, bool, lambda rows: rows[0], lambda rows: list(rows.iterator())])
def test_a_raw_queryset_made_in_one_tenant_is_not_read_in_another(acme, zeta, posts, read):
    kept_raw.cache_clear()
    with tenant_context(acme):
        assert read(kept_raw())
    with tenant_context(zeta), pytest.raises(TenantMismatch, match=f"made for 'tenant/{acme.slug}'"):
        read(kept_raw())
    assert titles(kept_raw()) == titles(kept_raw().using(tenant_alias(acme.slug))) == [f"Of {acme.slug}"]


def test_a_module_level_raw_queryset_follows_its_reader(acme, zeta, posts, tmp_path, monkeypatch):
    name = f"late_raw_{tmp_path.name.replace('-', '_')}"
    text = "from blog.models import Post\nRAW = Post.objects.raw('SELECT * FROM blog_post')\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with tenant_context(acme):
        late = importlib.import_module(name)
    del sys.modules[name]
    for tenant in (zeta, acme, zeta):
        with tenant_context(tenant):
            for rows in (RAW, late.RAW):
                assert titles(rows) == [f"Of {tenant.slug}"]
                assert len(rows) == 1
                assert rows.db == rows[0]._state.db == tenant_alias(tenant.slug)
                assert set(rows.columns) >= {"id", "title"}
                (post,) = rows.prefetch_related("user")
                assert post.user._state.db == tenant_alias(tenant.slug)
    with pytest.raises(NoTenant, match="no tenant is current"):
        len(RAW)


def test_raw_takes_parameters_translations_and_a_database(acme, zeta, posts):
    query = "SELECT id, title AS heading FROM blog_post WHERE id = %s"
    with tenant_context(acme):
        (post,) = Post.objects.raw(query, [1], translations={"heading": "title"})
        assert post.title == f"Of {acme.slug}"
        assert titles(Post.objects.raw(query, [1], using=tenant_alias(zeta.slug))) == [f"Of {zeta.slug}"]
        assert [user.pk for user in User.objects.raw("SELECT * FROM accounts_user")] == [posts]


def test_a_row_is_not_refreshed_from_another_tenants_queryset(acme, zeta, posts):
    with tenant_context(acme):
        post = Post.objects.get(pk=1)
    with tenant_context(zeta):
        with pytest.raises(TenantMismatch, match="can't be refreshed"):
            post.refresh_from_db(from_queryset=Post.objects.all())
        post.refresh_from_db(from_queryset=MODULE_LEVEL)
        post.refresh_from_db(fields=["title"])
    assert (post.title, post._state.db) == (f"Of {acme.slug}", tenant_alias(acme.slug))


MODULE_LEVEL = Post.objects.order_by("pk")


@pytest.fixture
def strangers(acme, zeta, posts):
    """A user of the directory alone, and a copy that acme alone has."""
    User.objects.create_user("stranger", name="Stranger")
    User(pk=77, username="alone", name="Of acme alone").save(using=tenant_alias(acme.slug))


def test_a_kept_model_form_is_not_shown_in_another_tenant(acme, zeta, strangers):
    with tenant_context(acme):
        form = modelform_factory(Post, fields=["title", "user"])()
        assert "Of acme alone" in modelform_factory(Post, fields=["user"])().as_p()
    with tenant_context(zeta), pytest.raises(TenantMismatch, match=f"made for 'tenant/{acme.slug}'"):
        form.as_p()


class DeclaredForm(forms.ModelForm):
    user = forms.ModelChoiceField(queryset=User.objects.all(), label="Written by")

    class Meta:
        model = Post
        fields = ["title", "content", "user"]


def test_a_model_form_that_declares_its_user_field_offers_the_tenants_people(acme, zeta, strangers, posts):
    for tenant, names in ((acme, {"Ada", "Of acme alone"}), (zeta, {"Ada"})):
        with tenant_context(tenant):
            form = DeclaredForm()
            assert {str(label) for value, label in form.fields["user"].choices if value} == names
            form = DeclaredForm({"title": "t", "content": "c", "user": posts})
            assert form.is_valid(), form.errors
            assert form.save()._state.db == tenant_alias(tenant.slug)


@pytest.mark.parametrize("around", ["another tenant", "the directory"])
def test_a_callback_runs_in_the_context_in_which_it_was_handed_over(acme, zeta, posts, around):
    alias = tenant_alias(acme.slug)
    outer = tenant_context(zeta) if around == "another tenant" else directory_context()
    with outer, transaction.atomic(using=alias):
        with tenant_context(acme):
            transaction.on_commit(
                lambda: Post.objects.create(title="Log", content="-", user_id=posts), using=alias
            )
        seen = []
        transaction.on_commit(lambda: seen.append(current_tenant()), using=alias)
    assert titles(of(acme)) == ["Log", f"Of {acme.slug}"]
    assert titles(of(zeta)) == [f"Of {zeta.slug}"]
    assert seen == [zeta.slug if around == "another tenant" else None]
    assert not Post.objects.using("default").exists()


def test_a_receiver_runs_in_the_tenant_of_the_row(acme, zeta, posts):
    def log(sender, instance, **kwargs):
        seen.append(current_tenant())
        if not instance.title.startswith("log"):
            Post.objects.create(title=f"log of {instance.title}", content="-", user_id=instance.user_id)

    seen = []
    post_save.connect(log, Post)
    post_delete.connect(log, Post)
    try:
        with tenant_context(zeta), transaction.atomic(using=tenant_alias(zeta.slug)):
            Post.objects.get(pk=1)
            made = of(acme).create(title="A", content="-", user_id=posts)
            made.delete(using=tenant_alias(acme.slug))
    finally:
        post_save.disconnect(log, Post)
        post_delete.disconnect(log, Post)
    assert set(seen) == {acme.slug}
    assert titles(of(acme)) == [f"Of {acme.slug}", "log of A", "log of A"]
    assert titles(of(zeta)) == [f"Of {zeta.slug}"]


def test_a_receiver_of_a_directorys_row_keeps_the_context(acme, author):
    def note(sender, **kwargs):
        seen.append(current_tenant())

    seen = []
    post_save.connect(note, User)
    m2m_changed.connect(note, User.groups.through)
    try:
        with tenant_context(acme):
            author.save()
            author.groups.set([])
    finally:
        post_save.disconnect(note, User)
        m2m_changed.disconnect(note, User.groups.through)
    assert set(seen) == {acme.slug}


@pytest.mark.parametrize("loaded", [False, True])
def test_request_user_is_a_row_in_conditions_and_relations(acme, author, posts, loaded):
    user, tenant = SimpleLazyObject(lambda: author), SimpleLazyObject(lambda: acme)
    if loaded:
        assert user.pk == posts
    membership = Membership.objects.create(user=user, tenant=tenant)
    assert Membership.objects.get(user=user, tenant=tenant) == membership
    assert get_object_or_404(Membership, user__in=[user]) == membership
    with tenant_context(acme):
        for queryset in (Post.objects.all(), MODULE_LEVEL):
            assert queryset.filter(user=user).count() == queryset.filter(user__in=[user]).count() == 1
        Post.objects.create(title="t", content="c", user_id=user.pk)


def test_a_lazy_row_of_another_tenant_is_refused(acme, zeta, posts):
    user = SimpleLazyObject(lambda: User.objects.using(tenant_alias(acme.slug)).get(pk=posts))
    with tenant_context(zeta), pytest.raises(TenantMismatch, match="the given row was loaded from"):
        Post.objects.filter(user=user).count()


def test_a_query_for_users_by_their_posts_is_refused_while_no_tenant_is_current(posts):
    with pytest.raises(NoTenant, match="'blog_post'"):
        User.objects.filter(posts__title="x").count()


def test_managers_of_every_make_bind_their_querysets():
    program = Path(__file__).parent / "managed_models.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
