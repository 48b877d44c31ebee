"""Inside a tenant `request.user` is the copy of whoever is signed in, with the passwords and rights of D1."""

import asyncio
import copy
import pickle

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, models, transaction
from django.db.models import Prefetch, prefetch_related_objects
from django.test import AsyncClient, Client

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.members.syncing import add_member
from do_bridge.tenancy import TenantMismatch, directory_context, tenant_alias, tenant_context
from do_bridge.tenancy.replicated import users as people
from do_bridge.tenancy.replicated.users import CopyMissing, RelationRefused
from tests.tenancy import calling_urls


@pytest.fixture(autouse=True)
def forgotten():
    """This process knows of no copy."""
    people._known.clear()


@pytest.fixture
def ada(author):
    author.email = "ada@example.com"
    author.save()
    return author


@pytest.fixture
def visit(settings):
    """visit(tenant, work, user): what `work(request)` returned in a request of that user to that tenant."""
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_URLCONF": "tests.tenancy.calling_urls"}
    settings.ROOT_URLCONF = "tests.tenancy.calling_urls"
    clients = {}

    def run(tenant, work, user=None):
        client = clients.setdefault(user and user.pk, Client())
        if user is not None and not client.cookies:
            client.force_login(user)
        calling_urls.work[:] = [work]
        assert client.get(f"/t/{tenant.slug}/" if tenant else "/").content == b"done"
        return calling_urls.work.pop()

    return run


def of(tenant):
    return tenant_alias(tenant.slug)


def copies(tenant):
    return list(User.objects.using(of(tenant)).order_by("pk").values_list("username", flat=True))


def write(request):
    return Post.objects.create(title="Mine", content="-", user=request.user)


def test_whoever_is_signed_in_can_be_related_to_and_is_copied_then(acme, ada, visit):
    def work(request):
        user = request.user
        assert (user.pk, user._state.db, user.__class__) == (ada.pk, of(acme), User)
        assert (user.email, user.is_authenticated, user == ada) == ("ada@example.com", True, True)
        assert not copies(acme)
        post = Post.objects.create(title="Mine", content="-", user=user)
        assert [row.user for row in user.posts.all()] == [ada]
        assert Post.objects.filter(user=user, user__in=[user]).get() == post
        post.user = user
        post.save()
        Post.objects.filter(pk=post.pk).update(user=user)
        made = user.posts.create(title="Another", content="-")
        user.posts.add(made)
        return user

    visit(acme, work, ada)
    (row,) = User.objects.using(of(acme)).all()
    assert (row.username, row.email, row.is_active, row.has_usable_password()) == ("ada", "", False, False)
    assert Post.objects.using(of(acme)).filter(user=row).count() == 2


def test_a_visitor_who_writes_nothing_leaves_no_copy(acme, ada, visit):
    assert visit(acme, lambda request: list(request.user.posts.all()), ada) == []
    assert visit(acme, lambda request: request.user.get_username(), ada) == "ada"
    visit(acme, lambda request: Post(title="unsaved", user=request.user), ada)
    assert copies(acme) == []
    assert visit(acme, lambda request: request.user.is_anonymous)


def test_the_copy_takes_no_round_trip_of_its_own(acme, ada, visit, trips):
    def by_key(request):
        assert request.user.pk == ada.pk
        before = trips.count
        Post.objects.create(title="t", content="-", user_id=request.user.pk)
        return trips.count - before

    def by_row(request):
        before = trips.count
        write(request)
        return trips.count - before

    def resolve(request):
        before = trips.count
        assert request.user.email == "ada@example.com"
        return trips.count - before

    visit(acme, write, ada)
    assert visit(None, resolve, ada) == visit(acme, resolve, ada) == 1  # the session with its user
    assert visit(acme, by_row, ada) == visit(acme, by_key, ada) + 1 == 2
    people._known.clear()
    assert visit(acme, by_row, ada) == 2


def test_a_copy_that_is_out_of_date_is_refreshed_by_the_next_relation(acme, ada, visit):
    visit(acme, write, ada)
    # Nobody is a member, so that no dirty flag is set either.
    User.objects.filter(pk=ada.pk).update(name="Countess")
    assert User.objects.using(of(acme)).get().name == "Ada"
    visit(acme, write, ada)
    assert User.objects.using(of(acme)).get().name == "Countess"


def test_a_members_copy_stays_active_and_a_missing_one_is_made(acme, ada, visit):
    add_member(ada, acme)
    visit(acme, write, ada)
    assert User.objects.using(of(acme)).get().is_active
    Post.objects.using(of(acme)).all().delete()
    User.objects.using(of(acme)).all().delete()
    people._known.clear()
    visit(acme, write, ada)
    assert copies(acme) == ["ada"]


@pytest.mark.parametrize("inner", [False, True])
def test_a_copy_that_was_rolled_back_is_written_again(acme, ada, visit, inner):
    def fail(request):
        with transaction.atomic(using=of(acme)):
            if inner:
                with (
                    pytest.raises(ZeroDivisionError, match="division by zero"),
                    transaction.atomic(using=of(acme)),
                ):
                    write(request)
                    1 / 0  # noqa: B018
            else:
                write(request)
                transaction.set_rollback(True, using=of(acme))
        return copies(acme)

    assert visit(acme, fail, ada) == []
    visit(acme, write, ada)
    assert copies(acme) == ["ada"]


def test_a_row_of_somebody_without_a_copy_passes_its_validation(acme, ada, visit):
    def work(request):
        post = Post(title="Mine", content="-", user=request.user)
        post.full_clean()
        post.save()

    visit(acme, work, ada)
    assert copies(acme) == ["ada"]


def test_a_copy_in_a_transaction_that_is_managed_by_hand_is_written(acme, ada, visit):
    def work(request):
        transaction.set_autocommit(False, using=of(acme))
        try:
            write(request)
            transaction.commit(using=of(acme))
        finally:
            transaction.set_autocommit(True, using=of(acme))

    visit(acme, work, ada)
    assert copies(acme) == ["ada"]


def test_a_statement_that_fails_takes_the_copy_along_and_the_next_one_writes_it(acme, ada, visit):
    def work(request):
        with pytest.raises(IntegrityError, match="NOT NULL constraint failed"):
            Post.objects.create(pk=1, title=None, content="-", user=request.user)
        assert copies(acme) == ["ada"]
        return write(request)

    visit(acme, work, ada)


def test_a_copy_of_one_tenant_is_refused_in_another(acme, zeta, ada, in_both, visit):
    def work(request):
        user = request.user
        assert user._state.db == of(acme)
        post = Post.objects.using(of(zeta)).create(title="z", content="-", user_id=ada.pk)
        with tenant_context(zeta):
            for use in (
                lambda: Post.objects.create(title="x", content="-", user=user),
                lambda: Post.objects.filter(user=user).count(),
                lambda: Post.objects.update(user=user),
                lambda: user.posts.create(title="x", content="-"),
            ):
                with pytest.raises(TenantMismatch, match=r"blog\.Post"):
                    use()
            with pytest.raises(ValueError, match="prevents this relation"):
                post.user = user
            return list(user.posts.all())

    assert visit(acme, work, ada) == []


def test_permissions_and_what_else_is_d1s_is_read_and_written_there(acme, ada, visit):
    group = Group.objects.create(name="editors")
    group.permissions.add(Permission.objects.get(codename="change_post"))

    def work(request):
        user = request.user
        assert not user.has_perm("blog.change_post")
        user.groups.add(group)
        assert list(user.groups.all()) == [group]
        assert user.groups.all()[0]._state.db == "default"
        membership = Membership.objects.create(user=user, tenant=request.tenant)
        assert membership._state.db == "default"
        assert Membership.objects.get(user=user) == membership == user.memberships.get()
        assert membership.user == user
        assert [row.user for row in user.memberships.all()] == [user]
        Membership.objects.update(user=user, role="owner")
        prefetch_related_objects([user], "memberships", Prefetch("posts", Post.objects.all()))
        assert user.memberships.all()[0].tenant == acme
        user.name = "Countess"
        user.save()

    visit(acme, work, ada)
    assert visit(acme, lambda request: request.user.has_perm("blog.change_post"), ada)
    # The same for the copy itself, whose row in the object has no groups.
    with tenant_context(acme):
        member = User.objects.using(of(acme)).get()
        assert member.has_perm("blog.change_post")
        assert list(member.groups.all()) == [group]
        assert (member.name, member.is_active) == ("Countess", True)
    visit(acme, lambda request: request.user.groups.remove(group), ada)
    visit(acme, lambda request: request.user.groups.set([]), ada)
    assert not ada.groups.exists()


def test_passwords_and_the_session_stay_d1s(acme, ada, visit):
    def change(request):
        assert request.user.check_password("secret-of-ada")
        request.user.set_password("another-secret")
        request.user.save()
        assert request.user._state.db == "default"
        update_session_auth_hash(request, request.user)
        return write(request)

    def sign_in(request):
        user = authenticate(request, username="ada", password="another-secret")
        login(request, user)
        # The row is D1's, and nobody has copied it.
        assert request.user is user
        User.objects.using(of(acme)).all().update(username="somebody")
        people._known.clear()
        return write(request)

    visit(acme, change, ada)
    assert visit(acme, lambda request: request.user.pk, ada) == ada.pk
    assert User.objects.using(of(acme)).get().has_usable_password() is False
    visit(acme, sign_in)
    assert copies(acme) == ["ada"]
    visit(acme, logout, ada)
    assert visit(acme, lambda request: request.user.is_anonymous, ada)
    assert User.objects.get(pk=ada.pk).check_password("another-secret")


def test_d1s_values_are_saved_into_no_tenant(acme, ada, visit):
    def save(request):
        with pytest.raises(TenantMismatch, match="request.user can't be saved"):
            request.user.save(using=of(acme))

    visit(acme, save, ada)
    assert not User.objects.using(of(acme)).exclude(password__startswith="!").exists()


def test_a_signed_in_user_can_be_read_again_deleted_pickled_and_copied(acme, ada, visit):
    def work(request):
        user = request.user
        for twin in (copy.copy(user), copy.deepcopy(user), pickle.loads(pickle.dumps(user))):  # noqa: S301
            assert (twin, twin.email, twin._state.db) == (ada, "ada@example.com", of(acme))
        User.objects.filter(pk=ada.pk).update(name="Countess")
        user.refresh_from_db(fields=["name"])
        assert (user.name, user.email) == ("Countess", "ada@example.com")
        return user.delete()

    visit(acme, work, ada)
    assert not User.objects.filter(pk=ada.pk).exists()


def test_the_directorys_pages_keep_d1s_user(acme, ada, visit):
    assert visit(None, lambda request: request.user._state.db, ada) == "default"

    def work(request):
        with directory_context():
            return Membership.objects.filter(user=request.user).exists()

    assert visit(acme, work, ada) is False


def test_asynchronous_views_have_the_copy_too(acme, ada, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_URLCONF": "tests.tenancy.calling_urls"}

    async def work(request):
        user = await request.auser()
        assert user._state.db == of(acme)
        post = Post(title="Mine", content="-", user=user)
        await post.asave()
        again = await Post.objects.acreate(title="Again", content="-", user=request.user)
        assert (await user.ahas_perm("blog.change_post")) is False
        return [row.title async for row in request.user.posts.order_by("pk")], again.user == post.user

    async def main():
        client = AsyncClient()
        await sync_to_async(client.force_login)(ada)
        calling_urls.work[:] = [work]
        assert (await client.get(f"/t/{acme.slug}/async/")).content == b"done"
        return calling_urls.work.pop()

    assert asyncio.run(main()) == (["Mine", "Again"], True)
    assert copies(acme) == ["ada"]


def test_the_admins_log_of_somebody_who_has_no_copy(acme, ada, visit, trips):
    def work(request):
        ContentType.objects.get_for_model(acme)
        people.need_copy(request.user, of(acme))
        before = trips.count
        LogEntry.objects.log_actions(request.user.pk, [acme], ADDITION, single_object=True)
        assert trips.count - before == 1
        return LogEntry.objects.get().user

    assert visit(acme, work, ada) == ada


# Rows of D1 given where a tenant's are meant.


def test_a_user_of_d1_is_taken_by_key_where_the_copy_is_there(acme, zeta, ada, in_both, trips):
    with tenant_context(acme):
        post = Post.objects.create(title="t", content="-", user=ada)
        before = trips.count
        Post.objects.create(title="t", content="-", user=ada)
        assert trips.count - before == 1  # known from before
        assert [row.user for row in ada.posts.all()] == [ada, ada]
        post.user = ada
        Post.objects.update(user=ada)
        assert Post.objects.using(of(acme)).filter(user=ada).count() == 2
    with tenant_context(zeta):
        assert not Post.objects.filter(user=ada).exists()


def test_a_user_of_d1_without_a_copy_is_refused_before_anything_is_written(acme, ada, calls):
    with tenant_context(acme):
        post = Post(title="t", content="-")
        for use in (
            lambda: Post.objects.create(title="t", content="-", user=ada),
            lambda: setattr(post, "user", ada),
            lambda: Post.objects.update(user=ada),
            lambda: ada.posts.create(title="t", content="-"),
        ):
            with pytest.raises(CopyMissing, match="has no copy in 'tenant/.*Make the user a member"):
                use()
    assert not Post.objects.using(of(acme)).exists()


def test_somebody_else_than_who_is_signed_in_is_not_copied_by_a_relation(acme, ada, visit):
    other = User.objects.create_user("eve")

    def work(request):
        assert request.user.pk == ada.pk
        with pytest.raises(CopyMissing, match="has no copy"):
            Post.objects.create(title="t", content="-", user=other)

    visit(acme, work, ada)
    assert copies(acme) == []


@pytest.fixture
def note(acme, zeta):
    """A tenant's model with relations to content types, permissions, users and, wrongly, to tenants."""

    # In the project's own registry, where relations to users are looked for.
    class Note(models.Model):
        kind = models.ForeignKey(ContentType, models.CASCADE, null=True, related_name="+")
        needs = models.ForeignKey(Permission, models.CASCADE, null=True, related_name="+")
        about = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+")
        readers = models.ManyToManyField(User, related_name="+")

        class Meta:
            app_label = "blog"

    try:
        for tenant in (acme, zeta):
            with connections[of(tenant)].schema_editor() as editor:
                editor.create_model(Note)
        yield Note
    finally:
        for name in ("note", "note_readers"):
            del apps.all_models["blog"][name]
        apps.clear_cache()


def test_content_types_and_permissions_of_d1_are_taken_by_key(acme, note):
    kind = ContentType.objects.using("default").get(app_label="blog", model="post")
    permission = Permission.objects.using("default").get(codename="add_post")
    assert kind._state.db == permission._state.db == "default"
    with tenant_context(acme):
        made = note.objects.create(kind=kind, needs=permission)
        made.refresh_from_db()
        assert (made.kind, made.needs) == (kind, permission)
        assert made.kind._state.db == of(acme)
        assert note.objects.get(kind=kind, needs__in=[permission]) == made


def test_any_other_row_of_d1_is_refused_with_the_way_out(acme, zeta, note):
    with tenant_context(acme):
        with pytest.raises(
            RelationRefused, match=r"accounts\.Tenant.*plain field, or add 'accounts\.Tenant'"
        ):
            note(about=acme)
        with pytest.raises(ValueError, match="must be in one database"):
            note.objects.create(about=acme)
        assert not note.objects.exists()


def test_readers_are_added_and_removed_by_who_is_signed_in(acme, ada, note, visit):
    def work(request):
        made = note.objects.create()
        made.readers.add(request.user)
        assert made.readers.contains(request.user)
        assert [row.username for row in made.readers.all()] == ["ada"]
        made.readers.remove(request.user)
        made.readers.set([request.user])
        return made.readers.count()

    assert visit(acme, work, ada) == 1


def test_users_by_a_tenants_table_are_its_copies_if_the_settings_say_so(acme, zeta, ada, in_both, settings):
    Post.objects.using(of(acme)).create(title="t", content="-", user_id=ada.pk)
    by_posts = User.objects.filter(posts__title="t")
    with tenant_context(acme), pytest.raises(TenantMismatch, match="Choose using"):
        by_posts.count()
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "USERS_FROM_COPIES": True}
    with tenant_context(acme):
        assert by_posts.count() == User.objects.filter(posts__isnull=False).distinct().count() == 1
        assert by_posts.get()._state.db == of(acme)
        assert User.objects.get(username="ada")._state.db == "default"
        for write in (by_posts.all().delete, lambda: by_posts.all().update(name="x")):
            with pytest.raises(TenantMismatch, match="Choose using"):
                write()
    with tenant_context(zeta):
        assert not by_posts.exists()
