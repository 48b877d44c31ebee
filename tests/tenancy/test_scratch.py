"""Scratch objects: known by the ledger, emptied when their code is gone, made anew where it is not."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from do_bridge.backends.sqlite_file import schema
from do_bridge.models import TenantState
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import provision as provision_module
from do_bridge.tenancy.lifecycle.provision import fingerprint_once, forget_dumps, template_dump
from do_bridge.tenancy.lifecycle.template_objects import empty_template_object, note_used
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.tenancy.newer_code import RATING, newer_code


def current():
    return tenant_databases().template_object_alias(fingerprint_once())


def applied(alias):
    recorder = MigrationRecorder(connections[alias])
    return len(recorder.applied_migrations()) if recorder.has_table() else 0


def clean(*arguments):
    out = StringIO()
    call_command("empty_template_objects", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def former(empty_ledger, tmp_path):
    """The alias of a scratch object of other code, beside that of this one; both were used just now."""
    # Other tests of this process may have read the object: then nothing would be noted.
    forget_dumps()
    with newer_code(tmp_path, RATING):
        template_dump()
        alias = current()
    forget_dumps()
    template_dump()
    yield alias
    empty_template_object(alias)


def test_one_of_former_code_is_emptied_when_nobody_has_used_it_for_long(former):
    assert applied(former) == applied(current()) + 1
    assert "No template objects" in clean()
    TenantState.objects.update(since=timezone.now() - timedelta(days=8))
    assert clean("--dry-run").split() == [former]
    assert applied(former) > 0
    assert clean() == f"{former}: emptied\n"
    assert applied(former) == 0
    assert applied(current()) > 0
    assert "No template objects" in clean("--days", "0")


def test_code_that_finds_its_object_emptied_makes_it_anew(former, tmp_path, monkeypatch):
    with newer_code(tmp_path, RATING):
        empty_template_object(former)
        forget_dumps()
        migrate, tried = provision_module.call_command, []

        def emptied_meanwhile(*args, database, **options):
            migrate(*args, database=database, **options)
            tried.append(database)
            if len(tried) == 1:
                empty_template_object(database)

        monkeypatch.setattr(provision_module, "call_command", emptied_meanwhile)
        assert template_dump().fingerprint == code_fingerprint()
        assert tried == [former, former]
    forget_dumps()


def test_one_that_is_emptied_while_it_is_read_is_made_anew(former, tmp_path, monkeypatch):
    with newer_code(tmp_path, RATING):
        forget_dumps()
        read, found = schema.read_schema, []

        def emptied_before_the_rows_are_read(*answers):
            found.append(read(*answers))
            if len(found) == 1:
                empty_template_object(former)
            return found[-1]

        monkeypatch.setattr(schema, "read_schema", emptied_before_the_rows_are_read)
        assert template_dump().fingerprint == code_fingerprint()
        assert len(found) == 2
    forget_dumps()


def test_each_process_notes_its_own_once(empty_ledger, trips):
    forget_dumps()
    template_dump()
    assert TenantState.objects.get().slug == current()
    before = trips.count
    template_dump()
    assert trips.count == before
    note_used(current())
    assert trips.count == before + 1


def test_days_that_are_still_to_come_are_refused(db):
    # They would be every object's, also of those that processes are about to read.
    with pytest.raises(CommandError, match="0 or more"):
        clean("--days=-1")
