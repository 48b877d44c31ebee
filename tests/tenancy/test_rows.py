"""What Django does with a row outside of querysets stays in the row's tenant."""

from contextlib import ExitStack

import pytest
from django.apps import apps
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import connections, models
from django.db.models import Prefetch, prefetch_related_objects
from django.test.utils import isolate_apps

from accounts.models import User
from blog.models import Post
from do_bridge.contrib.storage import TenantFileSystemStorage
from do_bridge.tenancy import TenantMismatch, directory_context, tenant_alias, tenant_context

POSTS = Post.objects.order_by("pk")


def of(tenant):
    return tenant_alias(tenant.slug)


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author and the same key in each tenant."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(pk=1, title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return in_both


@pytest.fixture
def shelf(acme, zeta, posts):
    """Models with an order, a one-to-one and a generic key, with their tables and a row in each tenant."""
    with isolate_apps("blog"), ExitStack() as stack:

        class Shelf(models.Model):
            class Meta:
                app_label = "blog"

        class Volume(models.Model):
            shelf = models.ForeignKey(Shelf, models.CASCADE)
            name = models.CharField(max_length=80)

            class Meta:
                app_label = "blog"
                order_with_respect_to = "shelf"

        class Remark(models.Model):
            content_type = models.ForeignKey(ContentType, models.CASCADE)
            object_id = models.BigIntegerField()
            target = GenericForeignKey()

            class Meta:
                app_label = "blog"

        kind = ContentType.objects.get_for_model(Post)
        for tenant in (acme, zeta):
            with connections[of(tenant)].schema_editor() as editor:
                for model in (Shelf, Volume, Remark):
                    editor.create_model(model)
            with tenant_context(tenant):
                shelf = Shelf.objects.create(pk=1)
                for key in (1, 2, 3):
                    Volume.objects.create(pk=key, name=f"{tenant.slug} {key}", shelf=shelf)
                Remark.objects.create(pk=1, content_type_id=kind.pk, object_id=1)
        stack.callback(ContentType.objects.clear_cache)
        yield Shelf, Volume, Remark


def test_an_order_is_read_and_written_in_the_rows_tenant(acme, zeta, shelf):
    Shelf, Volume, _ = shelf  # noqa: N806 - they are classes
    with tenant_context(acme):
        row, first = Shelf.objects.get(), Volume.objects.get(pk=1)
    with tenant_context(zeta):
        Volume.objects.filter(pk=2).delete()
        assert list(row.get_volume_order()) == [1, 2, 3]
        assert first.get_next_in_order().name == f"{acme.slug} 2"
        with pytest.raises(TenantMismatch, match=of(acme)):
            row.set_volume_order([3, 2, 1])
        assert list(Volume.objects.values_list("pk", flat=True).order_by("_order")) == [1, 3]
    with tenant_context(acme):
        row.set_volume_order([3, 2, 1])
        assert list(Shelf.objects.get().get_volume_order()) == [3, 2, 1]


@pytest.mark.parametrize("around", ["zeta", "directory", "nothing"])
def test_a_generic_key_leads_to_the_rows_own_tenant(acme, zeta, shelf, around):
    Remark = shelf[2]  # noqa: N806 - it is a class
    outer = {"zeta": lambda: tenant_context(zeta), "directory": directory_context}.get(around, ExitStack)
    with outer():
        (prefetched,) = Remark.objects.using(of(acme)).prefetch_related("target")
        remark = Remark.objects.using(of(acme)).get()
        assert prefetched.target._state.db == remark.target._state.db == of(acme)
        assert remark.target.title == f"Of {acme.slug}"
        kind = remark.content_type
        assert kind.get_object_for_this_type(of(zeta), pk=1).title == f"Of {zeta.slug}"


def test_a_log_entry_leads_to_its_own_tenants_row(acme, zeta, posts):
    with tenant_context(acme):
        LogEntry.objects.log_actions(posts, [Post.objects.get()], ADDITION, single_object=True)
        entry = LogEntry.objects.get()
    with tenant_context(zeta):
        assert entry.get_edited_object().title == f"Of {acme.slug}"


def test_a_generic_key_takes_no_row_of_another_database(acme, zeta, shelf):
    Remark = shelf[2]  # noqa: N806 - it is a class
    with tenant_context(acme):
        post = Post.objects.get()
        assert Remark(target=post).target is post
    with tenant_context(zeta):
        for remark in (Remark(), Remark.objects.get()):
            with pytest.raises(TenantMismatch, match="must be in one database"):
                remark.target = post
    with isolate_apps("accounts"):

        class Note(models.Model):
            content_type = models.ForeignKey(ContentType, models.CASCADE)
            object_id = models.BigIntegerField()
            target = GenericForeignKey()

            class Meta:
                app_label = "accounts"

        with tenant_context(acme), pytest.raises(TenantMismatch, match="this row belongs to 'default'"):
            Note(target=post)
        assert Note(target=acme).object_id == acme.pk


@pytest.fixture
def profile(acme, zeta, posts):
    """A tenant's model of which each user has one row, with a row in each tenant."""

    # In the project's own registry, where relations to users are looked for.
    class Profile(models.Model):
        user = models.OneToOneField(User, models.CASCADE, related_name="profile")
        bio = models.TextField()

        class Meta:
            app_label = "blog"

    try:
        for tenant in (acme, zeta):
            with connections[of(tenant)].schema_editor() as editor:
                editor.create_model(Profile)
            Profile.objects.using(of(tenant)).create(user_id=posts, bio=tenant.slug)
        yield
    finally:
        del apps.all_models["blog"]["profile"], User.profile
        apps.clear_cache()


def test_a_user_of_the_directory_has_a_row_of_their_own_in_each_tenant(acme, zeta, author, profile):
    for tenant in (acme, zeta, acme):
        with tenant_context(tenant):
            assert author.profile.bio == tenant.slug
    author.refresh_from_db()


@pytest.fixture
def files(acme, zeta, tmp_path):
    """A model with a file, and one row with a file of the same name in each tenant."""
    with isolate_apps("blog"):

        class Picture(models.Model):
            file = models.FileField(storage=TenantFileSystemStorage(tmp_path, "/media/"))

            class Meta:
                app_label = "blog"

        rows = []
        for tenant in (acme, zeta):
            row = Picture(pk=1)
            row._state.db, row._state.adding = of(tenant), False
            with tenant_context(tenant):
                row.file.save("same.txt", ContentFile(tenant.slug), save=False)
            row.file.close()
            rows.append(row)
        yield rows


@pytest.mark.parametrize("around", ["zeta", "directory", "nothing"])
def test_a_file_is_its_rows_tenants(acme, zeta, files, around):
    outer = {"zeta": lambda: tenant_context(zeta), "directory": directory_context}.get(around, ExitStack)
    with outer():
        with files[0].file.open() as file:
            assert file.read().decode() == acme.slug
        assert files[0].file.url == f"/media/t/{acme.slug}/same.txt"
        assert files[0].file.size == len(acme.slug)
        assert f"t/{acme.slug}/" in files[0].file.path


def test_a_file_of_another_tenant_is_neither_written_nor_deleted(acme, zeta, files):
    with tenant_context(zeta):
        for write in (
            lambda: files[0].file.delete(save=False),
            lambda: files[0].file.save("same.txt", ContentFile("x"), save=False),
        ):
            with pytest.raises(TenantMismatch, match=of(acme)):
                write()
    files[0].file.delete(save=False)
    with files[1].file.open() as file:
        assert file.read().decode() == zeta.slug


def test_a_prefetch_for_users_of_the_directory_reads_the_current_tenant(acme, zeta, posts, author):
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            for queryset in (Post.objects.order_by("pk"), POSTS):
                (user,) = User.objects.filter(pk=posts).prefetch_related(Prefetch("posts", queryset=queryset))
                assert [post.title for post in user.posts.all()] == [f"Of {tenant.slug}"]
    with tenant_context(acme):
        kept = Prefetch("posts", queryset=Post.objects.all())
    with tenant_context(zeta), pytest.raises(TenantMismatch, match="A Prefetch of"):
        prefetch_related_objects([author], kept)


def test_none_of_another_tenant_is_read(acme, zeta):
    with tenant_context(acme):
        nothing = Post.objects.none()
    with tenant_context(zeta):
        assert list(nothing) == []
        assert nothing.count() == 0


def test_a_refused_write_leaves_the_queryset_readable(acme, zeta, posts):
    with tenant_context(acme):
        made = Post.objects.order_by("pk")
    with tenant_context(zeta):
        with pytest.raises(TenantMismatch, match="can't be written or related"):
            made.update(title="x")
        with pytest.raises(TenantMismatch, match="is read while"):
            list(made)
