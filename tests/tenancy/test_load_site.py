"""tenant_load of a whole site's file: the tenant gets its own rows, and no secret of the shared database."""

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from engine_aliases import OWN, alias_for

from accounts.models import Tenant, User
from blog.models import Post
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import keeping, ledger
from do_bridge.tenancy.lifecycle.transfer import copied_rows, load
from do_bridge.tenancy.lifecycle.transfer import site_file as site
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object, unique_slug
from tests import forking
from tests.tenancy import site_project
from tests.tenancy.processes import finish, start

EMPTY = ("django_session", "django_admin_log", "auth_group", "accounts_user_groups", "accounts_membership")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The file of the site, as its program left it."""
    path = tmp_path_factory.mktemp("site") / "db.sqlite3"
    program = Path(site_project.__file__)
    done = forking.run([program, path])
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def site_db(made, tmp_path):
    """A copy of that file."""
    return Path(shutil.copy(made, tmp_path / "db.sqlite3"))


@pytest.fixture
def people(db):
    """The site's users, in D1 under the same keys."""
    for pk, name in site_project.USERS:
        User.objects.create_user(name, password="of-D1", pk=pk)


@pytest.fixture
def other(db):
    """A slug without a tenant; whatever a test makes of it is emptied."""
    slug = unique_slug("site")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


@pytest.fixture
def sent(monkeypatch):
    """The texts of all requests to objects so far."""
    seen, send = [], RelaySession.request

    def request(self, message, deadline):
        if message.get("db", "").startswith("do:"):
            seen.append(json.dumps(message))
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return seen


def change(path, *statements):
    with closing(sqlite3.connect(path)) as file:
        for sql in statements:
            file.execute(sql)
        file.commit()


def loaded(slug, path, *options):
    out = StringIO()
    call_command("tenant_load", slug, path, *options, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def read(slug, sql):
    (result,) = run_batch(connections[tenant_alias(slug)], [(sql, None)])
    return [tuple(row) for row in result.rows]


def test_the_posts_and_their_authors_are_there_and_the_tenant_is_ready(site_db, people, other):
    told = loaded(other, site_db)
    posts = Post.objects.using(tenant_alias(other)).order_by("pk")
    assert [post.title for post in posts] == [f"Post {number}" for number in range(site_project.POSTS)]
    assert {post.user.username for post in posts} == {"ada", "brian"}
    with closing(sqlite3.connect(site_db)) as file:
        expected = file.execute("SELECT id, content, created, user_id FROM blog_post ORDER BY id").fetchall()
    assert read(other, "SELECT id, content, created, user_id FROM blog_post ORDER BY id") == expected
    assert Tenant.objects.get(slug=other).slug == other
    assert ledger.states(other)[other].state == ledger.READY
    assert "Left out, because these rows belong in the shared database:" in told
    for words in (
        "accounts_user 1 of 3",
        "django_session 1 of 1",
        "django_admin_log 1 of 1",
        "auth_group 1 of 1",
    ):
        assert words in told


def test_no_password_session_or_right_travels(site_db, people, other, sent):
    loaded(other, site_db)
    users = read(
        other, "SELECT username, password, email, is_staff, is_superuser, is_active FROM accounts_user"
    )
    assert users == [(name, copied_rows.NO_PASSWORD, "", 0, 0, 0) for name in ("ada", "brian")]
    for table in EMPTY:
        assert read(other, f"SELECT count(*) FROM {table}") == [(0,)], table
    with closing(sqlite3.connect(site_db)) as file:
        passwords = [value for (value,) in file.execute("SELECT password FROM accounts_user")]
    everything = "".join(sent)
    assert "Post 1" in everything
    for secret in (*passwords, site_project.SESSION, "@site.example", "carol"):
        assert secret not in everything


def test_content_types_get_the_directorys_keys(site_db, people, other):
    # The site's own keys are others than D1's.
    change(
        site_db,
        "PRAGMA foreign_keys = off",
        "UPDATE django_content_type SET id = id + 500",
        "UPDATE auth_permission SET content_type_id = content_type_id + 500",
        "UPDATE django_admin_log SET content_type_id = content_type_id + 500",
    )
    loaded(other, site_db)
    kinds = ContentType.objects.using(tenant_alias(other)).values_list("app_label", "model", "pk")
    assert set(kinds) >= set(ContentType.objects.values_list("app_label", "model", "pk"))


def test_a_user_that_is_somebody_else_in_d1_is_refused_before_anything_is_written(
    site_db, people, other, sent
):
    User.objects.filter(pk=72).update(username="somebody-else")
    for options in ((), ("--dry-run",)):
        with pytest.raises(
            CommandError, match=r"1 keys of accounts_user .* other people in 'default' \(keys: 72\)"
        ):
            loaded(other, site_db, *options)
    assert sent == []
    assert other not in ledger.states(other)
    assert not Tenant.objects.filter(slug=other).exists()


def test_a_user_that_d1_does_not_have_is_refused_with_what_to_do(site_db, other, sent):
    with pytest.raises(CommandError, match="2 rows of accounts_user .*First load .*`manage.py load_"):
        loaded(other, site_db)
    assert sent == []


def test_one_who_writes_nothing_may_be_missing_in_d1(site_db, people, other):
    User.objects.get(pk=73).delete()
    loaded(other, site_db)
    assert Post.objects.using(tenant_alias(other)).count() == site_project.POSTS


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(site_db, people, other, sent):
    told = loaded(other, site_db, "--dry-run")
    assert "rows would be loaded. Nothing was written" in told
    assert "django_session 1 of 1" in told
    assert not any("CREATE TABLE" in text or "INSERT" in text for text in sent)
    assert other not in ledger.states(other)
    assert not Tenant.objects.filter(slug=other).exists()


def test_tables_of_no_model_come_empty_and_are_named(site_db, people, other):
    change(
        site_db,
        "CREATE TABLE old_tokens (id INTEGER PRIMARY KEY, token TEXT)",
        "INSERT INTO old_tokens VALUES (1, 'secret'), (2, 'secret')",
    )
    assert "old_tokens 2 of 2" in loaded(other, site_db)
    assert read(other, "SELECT count(*) FROM old_tokens") == [(0,)]


POINTING = "ALTER TABLE blog_post ADD COLUMN {} REFERENCES {} DEFERRABLE INITIALLY DEFERRED"


def test_rows_that_are_pointed_at_through_others_come_along(site_db, people, other):
    from django.contrib.auth.models import Group

    from accounts.models import SignInFailure

    Group.objects.create(pk=1, name="editors")
    change(
        site_db,
        POINTING.format("group_id INTEGER", "auth_group (id)"),
        "UPDATE blog_post SET group_id = 1 WHERE id = 3",
    )
    assert "auth_group 1" not in loaded(other, site_db)
    assert read(other, "SELECT name FROM auth_group") == [("editors",)]
    assert SignInFailure.objects.count() == 0


def test_a_row_that_points_at_a_session_is_refused(site_db, people, other, sent):
    change(
        site_db,
        POINTING.format("session_id TEXT", "django_session (session_key)"),
        "UPDATE blog_post SET session_id = (SELECT session_key FROM django_session) WHERE id = 3",
    )
    with pytest.raises(CommandError, match="blog_post.session_id refers to rows of django_session"):
        loaded(other, site_db)
    assert sent == []
    change(site_db, "UPDATE blog_post SET session_id = NULL")
    loaded(other, site_db)


def test_a_row_that_points_at_a_table_of_no_model_is_refused(site_db, people, other):
    change(
        site_db,
        "CREATE TABLE old (id INTEGER PRIMARY KEY)",
        "INSERT INTO old VALUES (1)",
        POINTING.format("old_id INTEGER", "old (id)"),
        "UPDATE blog_post SET old_id = 1 WHERE id = 3",
    )
    with pytest.raises(
        CommandError, match="refers to rows of old, which is not a table of this project's models"
    ):
        loaded(other, site_db)


def test_what_a_copy_of_a_users_row_holds():
    def column(name, kind="varchar(9)", required=True, **options):
        defaults = {"is_key": False, "is_unique": False, "points": False, "field": None}
        return copied_rows.Column(name, kind, required, **{**defaults, **options})

    with override_settings(AUTH_USER_MODEL="accounts.User"):
        found = copied_rows.user_copy(
            [
                column("id", "integer", is_key=True),
                column("username", is_unique=True),
                column("first_name"),
                column("password"),
                column("email"),
                column("api_key", is_unique=True),
                column("pin", "integer", is_unique=True),
                column("last_login", "datetime", required=False),
                column("is_staff", "bool"),
                column("photo", "BLOB"),
                column("company_id", "bigint", points=True),
                column("boss_id", "bigint", required=False, points=True),
                column("data", "text", field=User._meta.get_field("date_joined")),
            ]
        )
    assert found == {
        "password": "'!copy'",
        "email": "''",
        "api_key": "'copy-' || \"id\"",
        "pin": '"id"',
        "last_login": "NULL",
        "is_staff": "0",
        "photo": "x''",
        "boss_id": "NULL",
    }


def test_of_other_shared_rows_what_is_called_a_secret_is_left_out():
    columns = [
        copied_rows.Column("id", "integer", True, True, False, False, None),
        copied_rows.Column("name", "text", True, False, False, False, None),
        copied_rows.Column("api_key", "text", True, False, True, False, None),
        copied_rows.Column("token_count", "integer", True, False, False, False, None),
        copied_rows.Column("webhook_secret", "text", False, False, False, False, None),
    ]
    assert copied_rows.blanked(columns) == {"api_key": "'copy-' || \"id\"", "webhook_secret": "NULL"}


# Interruptions


def the_object(slug):
    return f"do:{settings.DATABASES['tenant']['NAME']}/{slug}"


@pytest.fixture
def many(site_db):
    """The file with posts for several units."""
    change(
        site_db,
        "INSERT INTO blog_post (title, content, user_id, created, updated) SELECT title, "
        "printf('%.*c', 20000, 'x') || b.value, user_id, created, updated FROM blog_post, "
        "json_each('[1, 2, 3, 4, 5, 6, 7, 8]') AS b",
    )
    return site_db


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("at", [2, 4, 6, 8])
def test_a_killed_load_goes_on_where_it_stopped_and_sends_nothing_twice(
    many, people, other, sent, at, is_sent
):
    kill = (the_object(other), "UPDATE _do_bridge_load SET done", at, is_sent)
    code, output = finish(start("tenant_load", other, many, kill=kill))
    assert code == -signal.SIGKILL, output
    done = at + 1 if is_sent else at
    assert read_mark(other) == done
    assert ledger.states(other)[other].status == "load not finished"
    assert not Tenant.objects.filter(slug=other).exists()
    del sent[:]
    told = loaded(other, many)
    assert "continued after the last rows of an interrupted load" in told
    units = [text for text in sent if "UPDATE _do_bridge_load SET done" in text]
    assert len(units) == total_units(many) - done
    assert Post.objects.using(tenant_alias(other)).count() == 9 * site_project.POSTS
    assert ledger.states(other)[other].state == ledger.READY


def read_mark(slug):
    from do_bridge.tenancy.lifecycle.looking import unchecked

    with unchecked(tenant_alias(slug)):
        return read(slug, "SELECT done FROM _do_bridge_load")[0][0]


def total_units(path):
    """Return how many units note their progress: all but the last."""
    with load.opened(path) as file:
        schema = load.check_file(file.connection)
        filling = load.Filling(file, schema, site.choices(file.connection, schema), purpose="tenant")
        return 1 + sum(1 for _ in filling._units()) + 1


def test_another_file_under_the_same_name_begins_again(many, made, people, other):
    kill = (the_object(other), "UPDATE _do_bridge_load SET done", 5, True)
    code, output = finish(start("tenant_load", other, many, kill=kill))
    assert code == -signal.SIGKILL, output
    shutil.copy(made, many)
    told = loaded(other, many)
    assert "went on" not in told
    assert Post.objects.using(tenant_alias(other)).count() == site_project.POSTS


def test_a_site_that_is_killed_on_its_way_into_d1_goes_on(site_db, local_worker, django_db_blocker):
    with django_db_blocker.unblock(), alias_for("d1", local_worker) as moved:
        for at in (2, 6):
            kill = ("d1:", "UPDATE _do_bridge_load SET done", at, True)
            code, output = finish(start("load_sqlite", site_db, kill=kill, directory=OWN))
            assert code == -signal.SIGKILL, output
        code, output = finish(start("load_sqlite", site_db, directory=OWN))
        assert code == 0, output
        assert "continued after the last rows of an interrupted load" in output
        with closing(sqlite3.connect(site_db)) as file:
            passwords = file.execute("SELECT id, password FROM accounts_user ORDER BY id").fetchall()
        assert list(User.objects.using("d1").order_by("pk").values_list("pk", "password")) == passwords
        assert Post.objects.using("d1").count() == site_project.POSTS
        code, output = finish(start("migrate", "--database", "default", directory=OWN))
        assert code == 0, output
        assert "No migrations to apply." in output
        (result,) = run_batch(moved, [("SELECT name FROM sqlite_master WHERE type = 'trigger'", None)])
        assert {name for (name,) in result.rows} >= {*keeping.TRIGGERS, "do_bridge_members_added"}
