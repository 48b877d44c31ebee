"""Models with rows in tenants' databases have subclasses of Django's classes; others have Django's own."""

import contextvars
import copy
import pickle

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.query import RawQuerySet
from django.test.utils import isolate_apps

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.tenancy import TenantMismatch, tenant_alias, tenant_context
from do_bridge.tenancy.orm.querysets import bound_class


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author and the same key in each tenant."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(pk=1, title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return in_both


@pytest.mark.parametrize("model", [Group, Permission, ContentType, Tenant, Membership])
def test_other_models_have_djangos_own_classes(model):
    assert type(model._meta) is models.options.Options
    assert type(model.objects.all()) is QuerySet
    assert type(model._base_manager) is models.Manager


@pytest.mark.parametrize("model", [User, Post])
def test_the_subclasses_stand_for_the_classes_that_they_are_made_of(model):
    rows, manager = model.objects.all(), model._default_manager
    assert isinstance(rows, QuerySet)
    assert type(rows) is not QuerySet
    assert type(rows).__qualname__ == "QuerySet"
    assert manager.deconstruct()[1] == f"{type(manager).__module__}.{type(manager).__name__}"


class Named(models.Manager):
    use_in_migrations = True


class Rows(QuerySet):
    def titled(self):
        return self.filter(pk=1)


class NamedOfRows(models.Manager.from_queryset(Rows)):
    use_in_migrations = True


@pytest.mark.parametrize("make", [Named, NamedOfRows, models.Manager])
def test_managers_of_tenants_models_make_no_migrations(make):
    def state(label):
        with isolate_apps(label):

            class Thing(models.Model):
                things = make()

                class Meta:
                    app_label = label

        made = ModelState.from_model(Thing)
        made.app_label = "blog"
        project = ProjectState()
        project.add_model(made)
        return project

    bound, plain = state("blog"), state("accounts")
    for one, two in ((bound, plain), (plain, bound)):
        assert MigrationAutodetector(one, two)._detect_changes() == {}


def test_a_manager_added_later_binds_too(acme):
    with isolate_apps("blog"):

        class Late(models.Model):
            class Meta:
                app_label = "blog"

        Late.add_to_class("rows", NamedOfRows())
        with tenant_context(acme):
            assert Late.rows.titled().db == Late._base_manager.all().db == tenant_alias(acme.slug)


def test_querysets_are_pickled_and_copied(acme, zeta, posts):
    with tenant_context(acme):
        rows = Post.objects.filter(title__startswith="Of")
        for made in (pickle.loads(pickle.dumps(rows)), copy.deepcopy(rows), copy.copy(rows)):  # noqa: S301
            assert type(made) is type(rows)
            assert [post.title for post in made] == [f"Of {acme.slug}"]
            assert [post.title for post in made.all()] == [f"Of {acme.slug}"]
    with tenant_context(zeta), pytest.raises(TenantMismatch, match="is read while"):
        list(pickle.loads(pickle.dumps(made)).all())  # noqa: S301


def test_files_of_rows_are_pickled(tmp_path):
    with isolate_apps("blog"):

        class Picture(models.Model):
            file = models.FileField(upload_to=str(tmp_path))

            class Meta:
                app_label = "blog"

        file = Picture(file=ContentFile("x", name="a.txt")).file
        kind, (mixin, base), state = file.__reduce__()
        assert kind(mixin, base).__class__ is type(file)
        assert base is models.fields.files.FieldFile
        assert state["name"] == "a.txt"


def test_a_query_is_printed_whatever_its_database(acme, posts):
    with tenant_context(acme):
        own = Post.objects.filter(Exists(Post.objects.filter(pk=OuterRef("pk"))))
        assert "EXISTS" in str(own.query)


def test_a_queryset_made_by_hand_follows_its_reader_and_is_checked(acme, zeta, posts):
    rows = QuerySet(Post)
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            assert [post.title for post in rows.all()] == [f"Of {tenant.slug}"]
    with tenant_context(acme):
        theirs = Post.objects.all()
    with tenant_context(zeta):
        with pytest.raises(TenantMismatch, match="A subquery of blog.Post"):
            list(rows.filter(Exists(theirs)))
        with pytest.raises(TenantMismatch, match="the given row was loaded from"):
            list(rows.filter(user=User.objects.using(tenant_alias(acme.slug)).get(pk=posts)))


def test_raw_querysets_of_other_models_are_djangos_own(acme):
    with tenant_context(acme):
        assert type(Tenant.objects.raw("SELECT 1")) is RawQuerySet


class Interrupted(models.Value):
    """Keeps the context of a compilation, as asgiref does when a task is cancelled meanwhile."""

    contexts = []

    def as_sql(self, compiler, connection):
        self.contexts.append(contextvars.copy_context())
        return super().as_sql(compiler, connection)


def test_a_task_that_is_cancelled_while_a_query_is_compiled_reads_another_tenant(acme, zeta, posts):
    def titles():
        with tenant_context(zeta):
            return [post.title for post in Post.objects.all()]

    with tenant_context(acme):
        assert Post.objects.annotate(one=Interrupted(1)).get().one == 1
    assert Interrupted.contexts.pop().run(titles) == [f"Of {zeta.slug}"]


def test_a_fake_django_whose_methods_have_other_names_is_refused(monkeypatch):
    class Renamed(QuerySet):
        pass

    monkeypatch.delattr(QuerySet, "_fetch_all")
    with pytest.raises(RuntimeError, match="Renamed._fetch_all"):
        bound_class(Renamed)
