"""Loops of save() that outlast their lease: the error says what helps, and it does."""

import time

import pytest
import shelf
from django.db import OperationalError, transaction
from migration_cases import APP, create_boat, executor, migration, python
from shelf import Author

LEASE = 0.3


def write_slowly(save):
    """Save for longer than the lease, however fast the machine is."""
    for number in range(5):
        save(number)
        time.sleep(LEASE / 3)


@pytest.fixture
def hurried(durable_object):
    """A connection whose transactions have a short lease, migrations' too."""
    durable_object.settings_dict["OPTIONS"].update(lease=LEASE, migration_lease=LEASE)
    durable_object.close()
    return durable_object


HELP = r"bulk_create\(\), bulk_update\(\) or update\(\).*atomic = False.*OPTIONS\['lease'\]"


def test_a_block_that_outlasts_its_lease_says_what_to_do_and_leaves_nothing(hurried):
    with shelf.tables(hurried) as alias:
        with pytest.raises(OperationalError, match=HELP), transaction.atomic(using=alias):
            write_slowly(lambda number: Author.objects.using(alias).create(name=str(number)))
        assert Author.objects.using(alias).count() == 0
        with transaction.atomic(using=alias):
            Author.objects.using(alias).bulk_create([Author(name=str(number)) for number in range(500)])
        assert Author.objects.using(alias).count() == 500


def test_a_commit_after_the_lease_says_what_to_do(hurried):
    with shelf.tables(hurried) as alias:
        with pytest.raises(OperationalError, match=HELP), transaction.atomic(using=alias):
            Author.objects.using(alias).create(name="late")
            time.sleep(LEASE * 2)
        assert Author.objects.using(alias).count() == 0


def add_slowly(apps, editor):
    boats = apps.get_model("ship", "Boat").objects.using(editor.connection.alias)
    write_slowly(lambda number: boats.create(name=str(number), home="Kiel"))


def boats(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ship_boat")
        return cursor.fetchone()[0]


def test_python_code_of_a_migration_outlasts_its_lease_unless_it_is_not_atomic(hurried):
    first = migration("0001", create_boat())
    executor(hurried, first).migrate([(APP, "0001")])
    second = migration("0002", python(add_slowly))
    with pytest.raises(OperationalError, match=HELP):
        executor(hurried, first, second).migrate([(APP, "0002")])
    assert boats(hurried) == 0
    hurried.close()
    second = migration("0002", python(add_slowly), atomic=False)
    executor(hurried, first, second).migrate([(APP, "0002")])
    assert boats(hurried) == 5
