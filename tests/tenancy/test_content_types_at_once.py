"""Content types and permissions that two processes create in D1 at the same time."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import IntegrityError, connections
from django.db.models.signals import post_migrate
from django.db.transaction import atomic

from do_bridge.tenancy.replicated.contenttypes import directory_rows, forget_directory_rows

TABLES = ("django_content_type", "auth_permission")


@pytest.fixture
def blog_is_new(db):
    """D1 without the rows of the app blog."""
    ContentType.objects.filter(app_label="blog").delete()
    ContentType.objects.clear_cache()
    forget_directory_rows()


class OtherProcess:
    """Create the same rows right before this process inserts them into `tables`."""

    def __init__(self, tables):
        self.tables, self.conflicts = set(tables), 0

    def __call__(self, execute, sql, params, many, context):
        table = next((table for table in self.tables if sql.startswith(f'INSERT INTO "{table}"')), None)
        if table:
            self.tables.remove(table)
            execute(sql, params, many, context)
            self.conflicts += 1
        return execute(sql, params, many, context)


def by_first_use():
    directory_rows()


def by_migrate():
    call_command("migrate", database="default", verbosity=0)


def names():
    permissions = Permission.objects.filter(content_type__app_label="blog")
    return sorted(permissions.values_list("content_type__model", "codename"))


@pytest.mark.parametrize("create", [by_first_use, by_migrate])
@pytest.mark.parametrize("tables", [TABLES[:1], TABLES[1:], TABLES], ids=" ".join)
def test_rows_that_another_process_has_just_created_are_taken(blog_is_new, create, tables):
    other = OtherProcess(tables)
    with connections["default"].execute_wrapper(other):
        create()
    assert other.conflicts == len(tables)
    wanted = {
        (model._meta.model_name, f"{action}_{model._meta.model_name}")
        for model in apps.get_app_config("blog").get_models()
        for action in ("add", "change", "delete", "view")
    }
    assert names() == sorted(wanted)


def test_a_conflict_in_a_block_of_the_caller_is_raised(blog_is_new):
    # Another attempt would raise TransactionManagementError, which hides the reason.
    blog = apps.get_app_config("blog")
    other = connections["default"].execute_wrapper(OtherProcess(TABLES))
    with other, pytest.raises(IntegrityError, match="django_content_type"), atomic("default"):
        post_migrate.send(
            blog, app_config=blog, verbosity=0, interactive=False, using="default", apps=apps, plan=[]
        )
