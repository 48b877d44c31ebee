"""Where models are read and written: by the context, and by the instance that they hang on."""

import copy

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import (
    CASCADE,
    BigIntegerField,
    Case,
    Count,
    Exists,
    ForeignKey,
    Model,
    OuterRef,
    Q,
    Subquery,
    When,
)
from django.test.utils import isolate_apps

from accounts.models import Membership, User
from blog.models import Post
from do_bridge.tenancy import (
    NoTenant,
    TenantMismatch,
    directory_context,
    tenant_alias,
    tenant_context,
)
from do_bridge.tenancy.replicated.sql import copy_rows


@pytest.fixture
def aliases(acme, zeta):
    return tenant_alias(acme.slug), tenant_alias(zeta.slug)


@pytest.fixture
def post(acme, in_both):
    with tenant_context(acme):
        return Post.objects.create(title="Hello", content="World", user_id=in_both)


def test_without_a_tenant_tenant_models_are_refused_and_nothing_is_sent(trips):
    for work in (
        Post.objects.count,
        lambda: list(Post.objects.all()),
        lambda: Post.objects.create(title="x", content="y", user_id=1),
        lambda: Post(title="x", content="y", user_id=1).save(),
        lambda: Post.objects.filter(pk=1).delete(),
        lambda: router.db_for_read(Post),
    ):
        with pytest.raises(NoTenant, match="no tenant is current"):
            work()
    assert trips.count == 0


def test_the_directory_has_posts_of_its_own_if_one_asks_for_them(post):
    with directory_context():
        assert Post.objects.all().db == "default"
        assert not Post.objects.exists()


def test_a_post_is_in_its_tenant_and_in_no_other(post, acme, zeta):
    with tenant_context(acme):
        assert Post.objects.get().title == "Hello"
        assert Post.objects.get()._state.db == f"tenant/{acme.slug}"
    with tenant_context(zeta):
        assert not Post.objects.exists()


def test_everything_else_is_the_directorys_whatever_is_current(acme):
    for context in (tenant_context(acme), directory_context()):
        with context:
            assert router.db_for_read(User) == router.db_for_write(User) == "default"
            assert router.db_for_read(Membership) == "default"


def test_reading_from_an_instance_stays_in_its_tenant(post, acme, zeta, author, trips):
    with tenant_context(zeta):
        post.refresh_from_db()
        copy = Post.objects.using(post._state.db).get().user
        assert copy._state.db == f"tenant/{acme.slug}"
        assert copy.pk == author.pk
        assert not copy.has_usable_password()
        assert list(copy.posts.all()) == [post]
        prefetched = User.objects.using(post._state.db).prefetch_related("posts").get()
        assert list(prefetched.posts.all()) == [post]


def test_writing_an_instance_while_another_tenant_is_current_is_refused(post, acme, zeta, trips):
    post.title = "Leaked"
    for context in (tenant_context(zeta), directory_context()):
        with context:
            for work in (post.save, post.delete, post.user.save):
                with pytest.raises(TenantMismatch, match=f"tenant/{acme.slug}"):
                    work()
    with tenant_context(acme):
        assert Post.objects.get().title == "Hello"


def test_writing_an_instance_follows_it_where_nothing_else_is_current(post, acme):
    post.title = "Changed"
    post.save()
    with tenant_context(acme):
        assert Post.objects.get().title == "Changed"


def test_django_refuses_a_relation_across_tenants(aliases, in_both):
    one, two = aliases
    stranger = User.objects.using(two).get()
    own = Post.objects.using(one).create(title="x", content="y", user_id=in_both)
    with pytest.raises(ValueError, match="the current database router prevents this relation"):
        own.user = stranger
    assert router.allow_relation(own, User.objects.using(one).get())
    assert not router.allow_relation(own, stranger)


def test_a_row_of_a_tenant_is_related_to_a_user_by_the_copy_or_by_d1s_row(acme, author, in_both):
    with tenant_context(acme):
        member = User.objects.using(tenant_alias(acme.slug)).get()
        for user in (member, author):
            written = Post(title="x", content="y", user=user)
            written.save()
            assert written._state.db == f"tenant/{acme.slug}"
            written.refresh_from_db()
            assert written.user._state.db == f"tenant/{acme.slug}"


def test_a_row_of_the_directory_is_not_related_to_another_that_a_tenant_has(acme, author):
    group = Group.objects.using(tenant_alias(acme.slug)).create(name="editors")
    with pytest.raises(ValueError, match="can't be related to a user.*using"):
        author.groups.add(group)
    with pytest.raises(TenantMismatch):
        author.groups.remove(group)


def test_relating_to_a_member_of_another_tenant_than_the_current_is_refused(aliases, zeta, in_both):
    member = User.objects.using(aliases[0]).get()
    with tenant_context(zeta), pytest.raises(TenantMismatch):
        Post(title="x", content="y", user=member)


def test_saving_into_another_tenant_by_using_is_a_new_row_there(post, aliases):
    post.save(using=aliases[1])
    assert Post.objects.using(aliases[0]).count() == Post.objects.using(aliases[1]).count() == 1


def test_a_lazy_queryset_answers_for_the_tenant_in_which_it_was_made(post, acme, zeta, author):
    with tenant_context(acme):
        made = Post.objects.filter(title="Hello")
        of_author = author.posts.all()
        of_base_manager = Post._base_manager.all()
    assert of_author.db == f"tenant/{acme.slug}"
    assert of_author.count() == 1
    for lazy in (made, of_base_manager):
        assert lazy.db == f"tenant/{acme.slug}"
        assert list(lazy) == [post]
        with directory_context():
            assert list(lazy.order_by("pk")) == [post]
        with tenant_context(acme):
            assert list(lazy.order_by("pk")) == [post]


@pytest.mark.parametrize(
    "read",
    [
        list,
        len,
        lambda lazy: lazy[0],
        lambda lazy: lazy.count(),
        lambda lazy: lazy.exists(),
        lambda lazy: list(lazy.iterator()),
        lambda lazy: lazy.order_by("pk").first(),
        lambda lazy: lazy.aggregate(Count("pk")),
        lambda lazy: list(lazy.values_list("title", flat=True)),
        lambda lazy: async_to_sync(awaited)(lazy.acount),
    ],
)
def test_a_queryset_made_in_one_tenant_is_not_read_in_another(post, acme, zeta, author, trips, read):
    with tenant_context(acme):
        kept = [Post.objects.order_by("pk"), author.posts.all(), Post._base_manager.all()]
        evaluated = Post.objects.order_by("pk")
        assert len(evaluated) == 1
    before = trips.count
    with tenant_context(zeta):
        for lazy in (*kept, evaluated, copy.deepcopy(kept[0])):
            with pytest.raises(TenantMismatch, match=f"made for 'tenant/{acme.slug}'"):
                read(lazy)
        assert trips.count == before
        assert read(kept[0].using(f"tenant/{acme.slug}"))


def test_a_queryset_of_the_directorys_own_rows_is_not_read_in_a_tenant(acme, trips):
    with directory_context():
        shared = Post.objects.all()
    with tenant_context(acme), pytest.raises(TenantMismatch, match="made for 'default'"):
        list(shared)
    assert trips.count == 0


def test_a_proxy_in_another_app_has_its_models_rows_and_is_refused_where_no_tenant_is_current(post, acme):
    with isolate_apps("accounts"):

        class Pinned(Post):
            class Meta:
                app_label = "accounts"
                proxy = True

    with pytest.raises(NoTenant):
        Pinned.objects.count()
    with tenant_context(acme):
        assert Pinned.objects.get().title == "Hello"


def test_a_queryset_made_while_nothing_is_current_belongs_to_whoever_reads_it(post, acme, zeta):
    made = Post.objects.all()
    with tenant_context(acme):
        assert made.all().count() == 1
    with tenant_context(zeta):
        assert made.all().count() == 0


def test_django_refuses_a_subquery_over_another_tenant(post, acme, zeta):
    with tenant_context(acme):
        theirs = Post.objects.all()
    with tenant_context(zeta), pytest.raises(ValueError, match="across different databases"):
        list(Post.objects.filter(pk__in=theirs))


async def awaited(call):
    return await call()


def test_rows_of_another_tenant_are_not_written_in_bulk_without_saying_so(post, acme, zeta, trips):
    with tenant_context(zeta):
        for write in (
            lambda: Post.objects.bulk_create([post]),
            lambda: Post.objects.bulk_update([post], ["title"]),
            lambda: Post.objects.all().bulk_create([post]),
            lambda: Post.objects.filter(pk=1).bulk_update([post], ["title"]),
            lambda: async_to_sync(awaited)(lambda: Post.objects.abulk_create([post])),
            lambda: async_to_sync(awaited)(lambda: Post.objects.abulk_update([post], ["title"])),
        ):
            with pytest.raises(TenantMismatch, match=f"tenant/{zeta.slug}"):
                write()
        assert trips.count == 0
        Post.objects.using(f"tenant/{zeta.slug}").bulk_create([post])
        there = Post.objects.get()
        assert Post.objects.using(there._state.db).bulk_update([there, post], ["title"]) == 1
    with tenant_context(acme):
        own = Post.objects.get()
        assert Post.objects.bulk_update([own], ["title"]) == 1


def test_rows_of_a_tenant_are_not_written_into_the_directory_in_bulk(post, acme, author, trips):
    copy = User.objects.using(f"tenant/{acme.slug}").get(pk=author.pk)
    before = trips.count
    for write in (
        lambda: User.objects.bulk_update([copy], ["name"]),
        lambda: User.objects.all().bulk_create([copy], ignore_conflicts=True),
    ):
        with pytest.raises(TenantMismatch, match="'default'"):
            write()
    assert trips.count == before


def test_an_update_does_not_relate_to_another_tenants_row(post, aliases, acme, zeta, in_both, trips):
    theirs = User.objects.using(aliases[1]).get(pk=in_both)
    before = trips.count
    with tenant_context(acme):
        for update in (Post.objects.update, Post.objects.using(aliases[0]).filter(pk=post.pk).update):
            with pytest.raises(TenantMismatch, match="the given row was loaded from"):
                update(user=theirs)
        assert trips.count == before
        own = User.objects.using(aliases[0]).get(pk=in_both)
        assert Post.objects.update(user=own) == 1


def test_a_filter_does_not_take_another_tenants_row_for_one_of_the_same_key(
    post, aliases, acme, zeta, in_both
):
    theirs, own = (User.objects.using(alias).get(pk=in_both) for alias in reversed(aliases))
    with tenant_context(acme):
        for conditions in (
            {"user": theirs},
            {"user__in": [own, theirs]},
            {"user__in": frozenset([theirs])},
            {"user__in": {"x": theirs}.values()},
        ):
            with pytest.raises(TenantMismatch, match="the given row was loaded from"):
                Post.objects.filter(**conditions)
        with pytest.raises(TenantMismatch):
            Post.objects.exclude(Q(title="x") | ~Q(user=theirs))
        assert Post.objects.filter(Q(user=own), user__in=[own]).count() == 1
        assert Post.objects.using(aliases[0]).filter(user=theirs).count() == 1
        assert theirs.posts.count() == 0
    with tenant_context(zeta):
        assert own.posts.count() == 1


@pytest.mark.parametrize(
    "combine",
    [
        lambda one, two: one | two,
        lambda one, two: one.none() | two,
        lambda one, two: one & two,
        lambda one, two: one ^ two,
        lambda one, two: one.union(one, two),
        lambda one, two: one.difference(two),
    ],
)
def test_querysets_of_two_tenants_do_not_become_one(post, aliases, acme, zeta, combine):
    with tenant_context(acme):
        own = Post.objects.order_by()
    with tenant_context(zeta):
        bound = Post.objects.order_by()
    before = own.count()
    for theirs in (bound, Post.objects.using(aliases[1]).order_by()):
        with pytest.raises(TenantMismatch, match="can't be combined"):
            combine(own, theirs)
    assert combine(own, Post.objects.using(aliases[0]).order_by()).count() in (0, before)


@pytest.mark.parametrize(
    "use",
    [
        lambda own, inner: own.filter(Exists(inner)),
        lambda own, inner: own.exclude(~Exists(inner.filter(pk=OuterRef("pk")))),
        lambda own, inner: own.annotate(other=Subquery(inner.values("title")[:1])),
        lambda own, inner: own.filter(title=inner.values("title")[:1]),
        lambda own, inner: own.order_by(Case(When(Exists(inner), then=1), default=2)),
        lambda own, inner: own.filter(user__in=User.objects.filter(Exists(inner))),
    ],
)
def test_a_subquery_of_another_tenant_is_refused_and_nothing_is_sent(post, aliases, acme, zeta, use, trips):
    with tenant_context(zeta):
        bound = Post.objects.order_by()
    with directory_context():
        shared = Post.objects.order_by()
    with tenant_context(acme):
        before = trips.count
        for inner in (bound, shared, Post.objects.using(aliases[1]).order_by()):
            with pytest.raises(TenantMismatch, match=f"runs on '{aliases[0]}'"):
                list(use(Post.objects.all(), inner))
        assert trips.count == before
        for inner in (Post.objects.order_by(), Post.objects.using(aliases[0]).order_by()):
            assert list(use(Post.objects.all(), inner)) == [post]


def test_a_subquery_that_no_database_was_chosen_for_reads_that_of_its_query(post, acme, in_both):
    unbound = Post.objects.filter(pk=OuterRef("pk"))
    copies = User.objects.filter(pk=OuterRef("user_id"), is_active=True)
    with tenant_context(acme):
        assert Post.objects.filter(Exists(unbound), Exists(copies)).get() == post


@pytest.fixture
def groups(aliases, in_both):
    """A group in the first tenant, with a permission; that one, and the other tenant's of the same key."""
    made = [Permission.objects.using(alias).get(codename="add_post") for alias in aliases]
    group = Group.objects.using(aliases[0]).create(name="editors")
    group.permissions.add(made[0])
    return group, *made


@pytest.mark.parametrize(
    "change",
    [
        lambda group, given: group.permissions.remove(given),
        lambda group, given: group.permissions.set([given]),
        lambda group, given: async_to_sync(group.permissions.aremove)(given),
        lambda group, given: given.group_set.remove(group),
        lambda group, given: given.group_set.set(iter([group])),
    ],
)
def test_another_tenants_row_is_not_taken_for_the_related_one_of_the_same_key(groups, aliases, change, trips):
    group, own, other = groups
    before = trips.count
    with pytest.raises(TenantMismatch, match="can't be related to a row of"):
        change(group, other)
    assert trips.count == before
    assert list(group.permissions.all()) == [own]
    change(group, own)
    assert group.permissions.remove.alters_data


def test_a_copys_groups_are_d1s_and_not_those_of_the_same_key_in_the_tenant(aliases, in_both, author):
    copy = User.objects.using(aliases[0]).get()
    stray = Group.objects.using(aliases[0]).create(pk=1, name="stray")
    author.groups.add(Group.objects.create(pk=1, name="D1's"))
    for user in (copy, author):
        for change in (user.groups.add, user.groups.remove, lambda row, user=user: user.groups.set([row])):
            with pytest.raises(ValueError, match="can't be related|instance is on database"):
                change(stray)
    assert [group.name for group in copy.groups.all()] == ["D1's"]


def test_a_tenants_query_does_not_say_that_it_contains_another_tenants_row(
    post, aliases, acme, zeta, in_both
):
    with tenant_context(zeta):
        other = Post.objects.create(pk=post.pk, title="Other", content="-", user_id=in_both)
    with tenant_context(acme):
        known = Post.objects.all()
        assert known
        for queryset in (Post.objects.all(), known):
            with pytest.raises(TenantMismatch):
                queryset.contains(other)
            assert queryset.contains(post)
        # Who says `using` compares keys on purpose.
        assert Post.objects.using(aliases[0]).contains(other)


class ModuleLevelForm(forms.ModelForm):
    class Meta:
        model = Post
        fields = ["title", "content", "user"]


def test_a_form_offers_and_accepts_the_current_tenants_people_alone(acme, zeta, in_both):
    stranger = User.objects.create_user("stranger", name="Stranger")
    copy_rows(User, [stranger], tenant_alias(zeta.slug))
    for tenant, names in ((acme, {"Ada"}), (zeta, {"Ada", "Stranger"})):
        with tenant_context(tenant):
            offered = {label for value, label in ModuleLevelForm().fields["user"].choices if value}
            assert offered == names
    data = {"title": "x", "content": "y", "user": stranger.pk}
    with tenant_context(acme):
        assert list(ModuleLevelForm(data).errors) == ["user"]
    with tenant_context(zeta):
        saved = ModuleLevelForm(data).save()
        assert saved.user._state.db == saved._state.db == f"tenant/{zeta.slug}"


def test_a_new_rows_relations_are_read_from_the_current_tenant(acme, zeta, in_both):
    stranger = User.objects.create_user("stranger", name="Stranger")
    with tenant_context(acme):
        assert Post(user_id=in_both).user._state.db == f"tenant/{acme.slug}"
        with pytest.raises(User.DoesNotExist):
            _ = Post(user_id=stranger.pk).user
        with pytest.raises(ValidationError):
            Post(title="x", content="y", user_id=stranger.pk).full_clean()


def test_the_admin_log_is_separated_by_tenant(post, acme, zeta, author, in_both):
    with tenant_context(acme):
        LogEntry.objects.log_actions(author.pk, [post], ADDITION, single_object=True)
        entry = LogEntry.objects.get()
        assert entry._state.db == f"tenant/{acme.slug}"
        assert entry.content_type.model_class() is Post
        assert entry.get_edited_object() == post
    with tenant_context(zeta):
        assert not LogEntry.objects.exists()
    assert LogEntry.objects.all().db == "default"
    assert not LogEntry.objects.exists()


def test_migrations_are_allowed_everywhere_but_on_the_template():
    for alias in ("default", "tenant/acme", "scratch/0a1b"):
        assert router.allow_migrate(alias, "blog")
        assert router.allow_migrate(alias, "accounts")
    assert not router.allow_migrate("tenant", "blog")


@pytest.mark.parametrize("call", ["remove", "set"])
def test_a_generic_relation_refuses_another_tenants_rows(aliases, call):
    with isolate_apps("blog"):

        class Tag(Model):
            content_type = ForeignKey(ContentType, CASCADE)
            object_id = BigIntegerField()
            target = GenericForeignKey()

            class Meta:
                app_label = "blog"

        class Tagged(Model):
            tags = GenericRelation(Tag)

            class Meta:
                app_label = "blog"

        tagged, tag = Tagged(pk=1), Tag(pk=1)
        tagged._state.db, tag._state.db = aliases
        with tenant_context(aliases[0].removeprefix("tenant/")), pytest.raises(TenantMismatch):
            tagged.tags.set([tag]) if call == "set" else tagged.tags.remove(tag)
