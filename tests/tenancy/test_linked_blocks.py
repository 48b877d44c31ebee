"""A block of atomic() that names no database covers the current tenant's: one outcome for both."""

import pytest
from django.db import IntegrityError, connections, migrations, transaction
from django.db.backends.sqlite3 import base as sqlite3
from django.db.migrations.state import ProjectState
from django.db.transaction import TransactionManagementError

from accounts.models import User
from blog.models import Post
from do_bridge.backends.remote_sqlite.blocks import linked
from do_bridge.tenancy import OpenTransaction, directory_context, tenant_alias, tenant_context, unset_context
from do_bridge.tenancy.context import migration_context

# Its name since Django 6.1.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint


def alias(tenant):
    return tenant_alias(tenant.slug)


def is_on_default(name):
    return User.objects.using("default").filter(username=name).exists()


def test_an_exception_undoes_what_the_tenant_got(shared, acme, write, titles):
    with tenant_context(acme):
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            write("one")
            write("two")
            raise KeyError("undo")
        with transaction.atomic():
            write("three")
    assert titles(acme) == ["three"]


def test_callbacks_of_a_block_that_failed_never_run(shared, acme, write):
    seen = []
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), transaction.atomic():
        transaction.on_commit(lambda: seen.append("tenant, unused"), using=alias(acme))
        write("one")
        transaction.on_commit(lambda: seen.append("default"))
        transaction.on_commit(lambda: seen.append("tenant"), using=alias(acme))
        raise KeyError("undo")
    assert seen == []


def test_the_tenant_commits_before_the_default_and_callbacks_run_after_both(
    shared, acme, write, titles, calls
):
    seen = []
    with tenant_context(acme):
        write("opens the connection")
        with transaction.atomic():
            User.objects.create_user("new")
            write("one")
            transaction.on_commit(lambda: seen.append(("tenant", titles(acme))), using=alias(acme))
            transaction.on_commit(lambda: seen.append(("default", is_on_default("new"))))
            before = len(calls())
        commits = [call for call in calls()[before:] if call[1] == "commit"]
    assert seen == [("default", True), ("tenant", ["opens the connection", "one"])]
    expected = [(alias(acme), "commit")]
    assert commits == expected + [("default", "commit")] * shared.features.supports_transactions


def test_an_unused_part_costs_no_round_trip_and_a_used_one_its_commit(shared, acme, write, trips):
    with tenant_context(acme):
        with transaction.atomic(), transaction.atomic():
            assert connections[alias(acme)].in_atomic_block
            connections[alias(acme)].cursor().close()
        assert trips.count == 0
        with transaction.atomic():
            write("one")
            with transaction.atomic():
                write("two")
        assert trips.count == 3
        write("three")
        assert trips.count == 4


def test_inner_blocks_are_undone_alone(shared, acme, write, titles):
    with tenant_context(acme), transaction.atomic():
        write("outer")
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            write("inner")
            with transaction.atomic():
                write("innermost")
            raise KeyError("undo")
        with pytest.raises(IntegrityError, match="UNIQUE"), transaction.atomic():
            write("same", pk=Post.objects.get().pk)
        with transaction.atomic():
            write("after")
    assert titles(acme) == ["outer", "after"]


def test_a_part_that_begins_in_an_inner_block_is_undone_with_it_alone(shared, acme, write, titles):
    with tenant_context(acme), transaction.atomic():
        with pytest.raises(KeyError, match="undo"), transaction.atomic(), transaction.atomic():
            write("inner")
            raise KeyError("undo")
        write("outer")
    assert titles(acme) == ["outer"]


def test_an_inner_block_without_a_savepoint_undoes_the_one_around_it(shared, acme, write, titles):
    with tenant_context(acme):
        with transaction.atomic():
            write("outer")
            with pytest.raises(KeyError, match="undo"), transaction.atomic(savepoint=False):
                write("inner")
                raise KeyError("undo")
            with pytest.raises(TransactionManagementError, match="end of the 'atomic' block"):
                write("after")
        # As with any single database, no exception leaves the block.
        assert titles(acme) == []
        with transaction.atomic():
            write("kept")
            with transaction.atomic(savepoint=False):
                write("kept too")
    assert titles(acme) == ["kept", "kept too"]


def test_an_error_that_was_swallowed_ends_the_block_on_both(shared, acme, write, titles):
    seen = []
    with tenant_context(acme):
        first = write("first")
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append("never"))
            write("undone")
            with pytest.raises(IntegrityError, match="UNIQUE"):
                write("same", pk=first.pk)
            with pytest.raises(TransactionManagementError, match="end of the 'atomic' block"):
                write("refused")
            with pytest.raises(TransactionManagementError, match=f"An error occurred on '{alias(acme)}'"):
                User.objects.create_user("refused")
            assert transaction.get_rollback()
    assert (titles(acme), seen) == (["first"], [])
    assert not is_on_default("refused")


def test_an_error_on_the_default_ends_the_block_on_the_tenant_too(shared, acme, author, write, titles):
    if not User.objects.filter(username="ada").exists():
        User.objects.create_user("ada")
    with tenant_context(acme), transaction.atomic():
        write("undone")
        with pytest.raises(IntegrityError, match="UNIQUE"):
            User.objects.create_user("ada")
        with pytest.raises(TransactionManagementError, match="An error occurred on 'default'"):
            write("refused")
    assert titles(acme) == []


def test_a_rollback_can_be_asked_for_and_forgone(shared, acme, write, titles):
    with tenant_context(acme):
        first = write("first")
        with transaction.atomic():
            write("undone")
            transaction.set_rollback(True)
        with transaction.atomic():
            savepoint = savepoint_create()
            with pytest.raises(IntegrityError, match="UNIQUE"):
                write("same", pk=first.pk)
            transaction.set_rollback(False)
            transaction.savepoint_rollback(savepoint)
            write("kept")
    assert titles(acme) == ["first", "kept"]


def test_savepoints_made_by_hand_cover_the_tenant(shared, acme, write, titles):
    with tenant_context(acme), transaction.atomic():
        before_all = savepoint_create()
        write("undone with all")
        transaction.savepoint_rollback(before_all)
        write("first")
        savepoint = savepoint_create()
        with transaction.atomic():
            write("second")
        transaction.savepoint_rollback(savepoint)
        transaction.savepoint_rollback(savepoint)
        with transaction.atomic():
            inner = savepoint_create()
            write("third")
            transaction.savepoint_commit(inner)
        transaction.savepoint_commit(savepoint)
    assert titles(acme) == ["first", "third"]


def test_a_savepoint_that_names_the_tenants_database_is_of_that_one_alone(shared, acme, write, titles):
    with tenant_context(acme), transaction.atomic():
        write("stays")
        of_tenant = savepoint_create(using=alias(acme))
        write("goes")
        transaction.savepoint_rollback(of_tenant, using=alias(acme))
    assert titles(acme) == ["stays"]


def test_a_block_that_names_the_default_covers_it_alone(shared, acme, write, titles):
    with tenant_context(acme):
        with pytest.raises(KeyError, match="undo"), transaction.atomic(using="default"):
            write("stays")
            raise KeyError("undo")
        with transaction.atomic():
            with pytest.raises(KeyError, match="undo"), transaction.atomic(using="default"):
                write("stays too")
                raise KeyError("undo")
            write("and this")
    assert titles(acme) == ["stays", "stays too", "and this"]


def test_a_block_inside_one_that_names_the_default_ends_the_tenants_part_itself(shared, acme, write, titles):
    with tenant_context(acme), transaction.atomic(using="default"):
        with transaction.atomic():
            write("kept")
        assert not connections[alias(acme)].in_atomic_block
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            write("undone")
            raise KeyError("undo")
        with transaction.atomic(savepoint=False):
            write("kept without a savepoint")
        assert titles(acme) == ["kept", "kept without a savepoint"]


def test_a_block_that_names_the_tenant_is_nested_in_the_one_around_it(shared, acme, write, titles):
    with tenant_context(acme):
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            with transaction.atomic(using=alias(acme)):
                write("undone with the outer one")
            raise KeyError("undo")
        with transaction.atomic():
            write("kept")
            with pytest.raises(KeyError, match="undo"), transaction.atomic(using=alias(acme)):
                write("undone alone")
                raise KeyError("undo")
            with (
                pytest.raises(RuntimeError, match="durable"),
                transaction.atomic(using=alias(acme), durable=True),
            ):
                pass
    assert titles(acme) == ["kept"]


def test_a_block_around_it_that_names_the_tenant_keeps_the_last_word(shared, acme, write, titles):
    seen = []
    with tenant_context(acme):
        with pytest.raises(KeyError, match="undo"), transaction.atomic(using=alias(acme)):
            with transaction.atomic():
                write("undone with the outer one")
                transaction.on_commit(lambda: seen.append("never"), using=alias(acme))
            raise KeyError("undo")
        with transaction.atomic(using=alias(acme)):
            with pytest.raises(KeyError, match="undo"), transaction.atomic():
                write("undone alone")
                raise KeyError("undo")
            write("kept")
        with (
            pytest.raises(RuntimeError, match="durable"),
            transaction.atomic(using=alias(acme)),
            transaction.atomic(durable=True),
        ):
            write("refused")
    assert (titles(acme), seen) == (["kept"], [])


def test_durable_blocks_are_outermost(shared, acme, write, titles):
    with tenant_context(acme):
        with transaction.atomic(durable=True):
            write("kept")
        with (
            transaction.atomic(),
            pytest.raises(RuntimeError, match="durable"),
            transaction.atomic(durable=True),
        ):
            pass
    assert titles(acme) == ["kept"]


@transaction.atomic
def bare(write):
    write("bare")
    raise KeyError("undo")


@transaction.atomic()
def called(write):
    write("called")
    raise KeyError("undo")


@transaction.atomic(using="default")
def named(write):
    write("named")
    raise KeyError("undo")


@transaction.atomic
def countdown(write, number):
    write(str(number))
    if number == 2:
        with pytest.raises(ZeroDivisionError, match="^$"):
            countdown(write, number - 1)
    elif number == 1:
        raise ZeroDivisionError
    else:
        countdown(write, number - 1)


def test_decorated_functions_are_blocks_too(shared, acme, write, titles):
    with tenant_context(acme):
        for function in (bare, called, named):
            with pytest.raises(KeyError, match="undo"):
                function(write)
        countdown(write, 3)
    assert titles(acme) == ["named", "3", "2"]


def test_a_tenant_that_is_entered_inside_an_open_block_is_covered(shared, acme, zeta, write, titles, calls):
    with transaction.atomic():
        for tenant in (zeta, acme, zeta):
            with tenant_context(tenant):
                write("kept")
        with pytest.raises(KeyError, match="undo"), transaction.atomic(), tenant_context(acme):
            write("undone")
            raise KeyError("undo")
        before = len(calls())
    commits = [name for name, operation in calls()[before:] if operation == "commit"]
    # In the order of their first use.
    assert commits == [alias(zeta), alias(acme)]
    assert (titles(acme), titles(zeta)) == (["kept"], ["kept", "kept"])
    with pytest.raises(KeyError, match="undo"), transaction.atomic():
        for tenant in (acme, zeta):
            with tenant_context(tenant):
                write("undone")
        raise KeyError("undo")
    assert (titles(acme), titles(zeta)) == (["kept"], ["kept", "kept"])


def test_a_part_stays_in_its_block_when_its_tenant_is_left(shared, acme, write, titles):
    with pytest.raises(KeyError, match="undo"), transaction.atomic():
        with tenant_context(acme):
            write("undone")
        with unset_context(), transaction.atomic():
            assert titles(acme) == ["undone"]
        raise KeyError("undo")
    assert titles(acme) == []


def test_another_tenant_is_not_entered_inside_the_block_of_one(shared, acme, zeta):
    with tenant_context(acme), transaction.atomic():
        with pytest.raises(OpenTransaction, match="open transaction"), tenant_context(zeta):
            pass
        with tenant_context(acme), directory_context():
            pass
    with tenant_context(acme), tenant_context(zeta):
        pass


def test_databases_that_are_not_the_current_tenants_are_not_covered(shared, acme, zeta, in_both, titles):
    for context in (tenant_context(acme), directory_context(), unset_context()):
        with context, pytest.raises(KeyError, match="undo"), transaction.atomic():
            Post.objects.using(alias(zeta)).create(title="stays", content="-", user_id=in_both)
            raise KeyError("undo")
    assert titles(zeta) == ["stays"] * 3


def test_with_autocommit_off_on_the_default_the_tenants_part_ends_with_the_block(shared, acme, write, titles):
    transaction.set_autocommit(False)
    try:
        with tenant_context(acme):
            with transaction.atomic():
                write("kept")
            with pytest.raises(KeyError, match="undo"), transaction.atomic():
                write("undone")
                raise KeyError("undo")
            write("kept too")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert titles(acme) == ["kept", "kept too"]


def test_autocommit_of_the_tenant_is_off_inside_the_block(shared, acme):
    with tenant_context(acme), transaction.atomic():
        assert not transaction.get_autocommit(using=alias(acme))
        with pytest.raises(TransactionManagementError, match="forbidden"):
            transaction.set_autocommit(True, using=alias(acme))
    assert transaction.get_autocommit(using=alias(acme))


def test_blocks_that_cross_are_undone(shared, acme, write, titles):
    with tenant_context(acme):
        outer, inner = transaction.atomic(), transaction.atomic(using=alias(acme))
        outer.__enter__()
        write("undone")
        inner.__enter__()
        with pytest.raises(TransactionManagementError, match="is still open at the end of the block"):
            outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        write("kept")
    assert titles(acme) == ["kept"]


def test_a_default_of_another_engine_leads_as_well(acme, write, titles):
    before = connections["default"]
    settings = {
        **before.settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {},
    }
    connections["default"] = shared = sqlite3.DatabaseWrapper(settings, "default")
    seen = []
    try:
        with tenant_context(acme), transaction.atomic():
            shared.cursor().execute("CREATE TABLE t (a)")
            write("kept")
            transaction.on_commit(lambda: seen.append(titles(acme)))
            with pytest.raises(KeyError, match="undo"), transaction.atomic():
                shared.cursor().execute("INSERT INTO t VALUES (1)")
                write("undone")
                raise KeyError("undo")
        assert shared.cursor().execute("SELECT count(*) FROM t").fetchone() == (0,)
    finally:
        shared.connection.close()
        connections["default"] = before
    assert (titles(acme), seen) == (["kept"], [["kept"]])


def test_a_migrations_python_code_has_its_blocks(acme, in_both, titles):
    def forwards(apps, editor):
        posts = Post.objects.using(editor.connection.alias)
        posts.create(title="kept", content="-", user_id=in_both)
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            posts.create(title="undone", content="-", user_id=in_both)
            raise KeyError("undo")

    migration = migrations.Migration("0099_posts", "blog")
    migration.operations = [migrations.RunPython(forwards)]
    with migration_context(alias(acme)), connections[alias(acme)].schema_editor() as editor:
        migration.apply(ProjectState(), editor)
    assert titles(acme) == ["kept"]


def test_a_fake_django_whose_blocks_are_not_recognised_is_refused(monkeypatch):
    def atomic(using=None, savepoint=True, durable=False):
        return linked.LinkedAtomic("default", savepoint, durable)

    monkeypatch.setattr(transaction, "atomic", atomic)
    with pytest.raises(RuntimeError, match="do_bridge does not support how"):
        linked.install(linked._leader_of)


def test_a_function_that_was_decorated_too_early_is_refused_inside_a_tenant(acme, write, titles):
    with (
        tenant_context(acme),
        linked.Atomic("default", savepoint=True, durable=False),
        pytest.raises(TransactionManagementError, match="decorated with @atomic before the settings"),
    ):
        write("refused")
    assert titles(acme) == []
