"""Sessions with their users: one statement for both, and Django's judgement of who is signed in."""

import asyncio
import datetime
import json
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    alogin,
    alogout,
    login,
    logout,
    update_session_auth_hash,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.management import call_command
from django.db.models import Manager
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from engine_aliases import alias_for
from fixture_files import stock_sqlite3

from accounts.models import User
from do_bridge import driver
from do_bridge.contrib.sessions.backend import SessionStore
from do_bridge.contrib.sessions.middleware import AuthenticationMiddleware
from do_bridge.contrib.sessions.models import Session
from tests import forking

HERE = Path(__file__).resolve().parent
BACKEND = "django.contrib.auth.backends.ModelBackend"
ENGINES = ["d1", "d1_optimistic", "durable_object", "sqlite3"]


class OneAlias:
    """A router that leads everything to one alias, except the models of `others`."""

    def __init__(self, alias, **others):
        self.alias, self.others = alias, others

    def db_for_read(self, model, **hints):
        return self.others.get(model._meta.label_lower.replace(".", "_"), self.alias)

    db_for_write = db_for_read


class UnlikeBackend(ModelBackend):
    """Reads users in its own way."""

    def get_user(self, user_id):
        return None if user_id == self.refused else super().get_user(user_id)

    refused = None


@contextmanager
def database(engine, worker, folder):
    if engine == "sqlite3":
        with stock_sqlite3(folder / "stock.sqlite3") as connection:
            yield connection
    else:
        with alias_for(engine, worker) as connection:
            yield connection


@pytest.fixture(params=ENGINES)
def home(request, local_worker, tmp_path, django_db_blocker, settings):
    """The connection to the database of users and sessions."""
    settings.SESSION_ENGINE = "do_bridge.contrib.sessions.backend"
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    with django_db_blocker.unblock(), database(request.param, local_worker, tmp_path) as connection:
        settings.DATABASE_ROUTERS = [OneAlias(connection.alias)]
        with connection.schema_editor() as editor:
            for model in (ContentType, Permission, Group, User, Session):
                editor.create_model(model)
        yield connection


@pytest.fixture
def ada(home):
    user = User(username="ada", email="ada@example.com")
    user.set_password("a-pass-word")
    user.save()
    return user


def visit(key=None, work=lambda request: request.user.is_authenticated):
    """Run `work(request)` in a request with this session key; return (its result, the key after it)."""
    found = []

    def view(request):
        found.append(work(request))
        return HttpResponse()

    request = RequestFactory().get("/")
    request.META["CSRF_COOKIE"] = "x" * 32
    if key:
        request.COOKIES["sessionid"] = key
    answer = SessionMiddleware(AuthenticationMiddleware(view))(request)
    cookie = answer.cookies.get("sessionid")
    return found[0], cookie.value if cookie else key


async def avisit(key, work):
    async def view(request):
        found.append(await work(request))
        return HttpResponse()

    found = []
    request = RequestFactory().get("/")
    request.META["CSRF_COOKIE"] = "x" * 32
    request.COOKIES["sessionid"] = key or ""
    answer = await SessionMiddleware(AuthenticationMiddleware(view))(request)
    cookie = answer.cookies.get("sessionid")
    return found[0], cookie.value if cookie else key


def logged_in(user, backend=BACKEND):
    """The key of a session in which the user is signed in."""
    _, key = visit(None, lambda request: login(request, user, backend=backend))
    return key


@contextmanager
def statements(connection):
    """Collect the statements of a connection, and count its round trips if it makes any."""
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note), driver.count_trips() as trips:
        yield seen
    if connection.settings_dict["ENGINE"].startswith("do_bridge"):
        assert trips.count == len(seen), (trips, seen)


def test_session_and_user_take_one_statement(home, ada):
    key = logged_in(ada)
    with statements(home) as seen:
        user, _ = visit(key, lambda request: (request.user.pk, request.user.email, request.user._state.db))
    assert user == (ada.pk, "ada@example.com", home.alias)
    assert len(seen) == 1


def test_a_page_that_asks_for_neither_takes_no_statement(home, ada):
    key = logged_in(ada)
    with statements(home) as seen:
        visit(key, lambda request: None)
    assert seen == []


def test_session_and_user_take_one_statement_in_an_asynchronous_view(home, ada):
    key = logged_in(ada)

    async def name(request):
        assert await request.session.aget("nothing") is None
        return (await request.auser()).username

    with driver.count_trips() as trips:
        assert asyncio.run(avisit(key, name))[0] == "ada"
    assert trips.count == (home.alias != "stock")


def test_an_asynchronous_view_logs_in_and_out(home, ada):
    async def enter(request):
        await alogin(request, ada, backend=BACKEND)

    async def leave(request):
        await alogout(request)
        return request.user.is_authenticated

    _, key = asyncio.run(avisit(None, enter))
    assert Session.objects.get(pk=key).user_id == ada.pk
    assert asyncio.run(avisit(key, leave))[0] is False
    assert not Session.objects.exists()


def test_a_visitor_without_a_session_takes_no_statement(home):
    with statements(home) as seen:
        assert visit()[0] is False
    assert seen == []


def test_an_anonymous_session_has_no_user_and_takes_one_statement(home, ada):
    _, key = visit(None, lambda request: request.session.update({"cart": [1]}))
    assert Session.objects.get().user_id is None
    with statements(home) as seen:
        found, _ = visit(key, lambda request: (request.user.is_authenticated, request.session["cart"]))
    assert found == (False, [1])
    assert len(seen) == 1


def test_a_login_keeps_what_the_visitor_had_and_changes_the_key(home, ada):
    _, before = visit(None, lambda request: request.session.update({"cart": [1]}))
    _, after = visit(before, lambda request: login(request, ada, backend=BACKEND))
    assert before != after
    assert list(Session.objects.values_list("pk", "user_id")) == [(after, ada.pk)]
    assert visit(after, lambda request: (request.user.pk, request.session["cart"]))[0] == (ada.pk, [1])


def test_a_logout_deletes_the_session_in_one_statement(home, ada):
    key = logged_in(ada)
    with statements(home) as seen:
        visit(key, logout)
    assert not Session.objects.exists()
    assert [sql.split()[0] for sql in seen] == ["SELECT", "DELETE"]
    assert visit(key)[0] is False


def test_another_users_login_in_the_same_session_ends_the_first(home, ada):
    key = logged_in(ada)
    bo = User.objects.create(username="bo", password="!")
    _, after = visit(key, lambda request: login(request, bo, backend=BACKEND))
    assert visit(after, lambda request: request.user.pk)[0] == bo.pk
    assert visit(key)[0] is False


def test_a_deleted_user_is_signed_out(home, ada):
    key = logged_in(ada)
    User.objects.all()._raw_delete(home.alias)
    assert visit(key)[0] is False
    assert Session.objects.count() == 1


def test_a_user_who_is_no_longer_active_is_signed_out(home, ada):
    key = logged_in(ada)
    User.objects.update(is_active=False)
    assert visit(key)[0] is False


def test_a_changed_password_ends_the_other_sessions_and_keeps_its_own(home, ada):
    here, there = logged_in(ada), logged_in(ada)

    def change(request):
        user = request.user
        user.set_password("another")
        user.save()
        update_session_auth_hash(request, user)

    _, here = visit(here, change)
    assert visit(here)[0] is True
    assert visit(there)[0] is False
    assert list(Session.objects.values_list("pk", flat=True)) == [here]


def test_a_session_of_an_earlier_secret_key_goes_on_under_a_new_key(home, ada, settings):
    key = logged_in(ada)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY
    signed_in, renewed = visit(key)
    assert signed_in is True
    assert renewed != key
    settings.SECRET_KEY_FALLBACKS = []
    with statements(home) as seen:
        assert visit(renewed)[0] is True
    assert len(seen) == 1


def test_a_session_of_a_secret_key_that_is_gone_is_over(home, ada, settings):
    key = logged_in(ada)
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY
    assert visit(key)[0] is False


@pytest.mark.parametrize("key", ["x" * 32, "short", "'; DROP TABLE x; --", "a" * 500, "ä" * 20])
def test_a_key_that_nobody_was_given_is_nobodys(home, ada, key):
    logged_in(ada)
    found, _ = visit(key, lambda request: (request.user.is_authenticated, request.session.session_key))
    assert found == (False, None)


def test_the_column_signs_nobody_in(home, ada):
    bo = User.objects.create(username="bo", password="!")
    _, visitors = visit(None, lambda request: request.session.update({"cart": [1]}))
    members = logged_in(ada)
    Session.objects.update(user=bo)
    assert visit(visitors)[0] is False
    assert visit(members, lambda request: request.user.pk)[0] == ada.pk


def test_data_that_were_tampered_with_sign_nobody_in(home, ada):
    key = logged_in(ada)
    Session.objects.update(session_data="x" + Session.objects.get().session_data)
    assert visit(key)[0] is False


def test_data_without_a_hash_sign_nobody_in(home, ada):
    def forge(request):
        request.session.update({SESSION_KEY: str(ada.pk), BACKEND_SESSION_KEY: BACKEND})

    _, key = visit(None, forge)
    assert Session.objects.get().user_id == ada.pk
    assert visit(key)[0] is False


def test_data_with_a_key_that_is_none_are_saved_without_a_user(home):
    values = {SESSION_KEY: "nobody", BACKEND_SESSION_KEY: BACKEND, HASH_SESSION_KEY: "x"}
    visit(None, lambda request: request.session.update(values))
    assert Session.objects.get().user_id is None


def test_an_expired_session_is_over_and_clearsessions_deletes_it(home, ada):
    over, valid = logged_in(ada), logged_in(ada)
    Session.objects.filter(pk=over).update(expire_date=timezone.now() - datetime.timedelta(seconds=1))
    assert visit(over)[0] is False
    call_command("clearsessions")
    assert list(Session.objects.values_list("pk", flat=True)) == [valid]


def test_all_sessions_of_a_user_end_by_the_column(home, ada):
    bo = User.objects.create(username="bo", password="!")
    keys = [logged_in(ada), logged_in(ada), logged_in(bo)]
    Session.objects.filter(user=ada).delete()
    assert [visit(key)[0] for key in keys] == [False, False, True]


def test_a_user_whom_the_manager_hides_is_not_signed_in(home, ada, monkeypatch):
    key = logged_in(ada)

    class Hiding(Manager):
        def get_queryset(self):
            return super().get_queryset().exclude(email="ada@example.com")

    manager = Hiding()
    manager.model = User
    monkeypatch.setitem(User._meta.__dict__, "default_manager", manager)
    assert visit(key)[0] is False


def test_a_backend_that_reads_users_itself_decides(home, ada, settings, monkeypatch):
    path = f"{__name__}.UnlikeBackend"
    settings.AUTHENTICATION_BACKENDS = [path]
    monkeypatch.setattr("django.contrib.auth.load_backend", lambda _: UnlikeBackend())
    monkeypatch.setattr("do_bridge.contrib.sessions.middleware.load_backend", lambda _: UnlikeBackend())
    key = logged_in(ada, path)
    assert visit(key)[0] is True
    monkeypatch.setattr(UnlikeBackend, "refused", ada.pk)
    assert visit(key)[0] is False


def test_a_backend_that_is_no_longer_installed_signs_nobody_in(home, ada, settings):
    key = logged_in(ada)
    settings.AUTHENTICATION_BACKENDS = ["accounts.throttle.ThrottledBackend"]
    assert visit(key)[0] is False


@pytest.mark.parametrize("home", ["d1"], indirect=True)
def test_users_in_another_database_are_read_there(home, ada, settings, tmp_path):
    with stock_sqlite3(tmp_path / "users.sqlite3") as users:
        with users.schema_editor() as editor:
            for model in (ContentType, Permission, Group, User):
                editor.create_model(model)
        settings.DATABASE_ROUTERS = [OneAlias(home.alias, accounts_user="stock")]
        bo = User.objects.create(username="bo", password="!")
        key = logged_in(bo)
        assert visit(key, lambda request: request.user.username)[0] == "bo"


def test_another_session_engine_works_with_the_middleware(home, ada, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    key = logged_in(ada)
    assert visit(key, lambda request: request.user.pk)[0] == ada.pk


def test_a_session_is_changed_and_expires_as_djangos_own(home, ada):
    store = SessionStore()
    store["cart"] = ["ä", 1, None]
    store.set_expiry(60)
    store.save()
    again = SessionStore(store.session_key)
    assert (again["cart"], again.get_expiry_age()) == (["ä", 1, None], 60)
    assert Session.objects.get().get_decoded()["cart"] == ["ä", 1, None]

    async def changed():
        await again.aset("cart", [])
        await again.asave()
        await again.adelete("of-nobody")
        return await SessionStore(store.session_key).aget("cart")

    assert asyncio.run(changed()) == []


def test_the_user_is_read_again_in_the_next_request(home, ada):
    key = logged_in(ada)
    visit(key)
    User.objects.update(email="new@example.com")
    assert visit(key, lambda request: request.user.email)[0] == "new@example.com"


def test_a_user_model_with_uuids_has_them_in_the_column():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = forking.run([HERE / "uuid_people.py"], env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"column": True, "user": True, "queries": 1}
