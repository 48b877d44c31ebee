"""What the admin's pages say of what was done, of what cannot be done, and of whose page it is."""

import re

import pytest
from django.contrib.admin.models import LogEntry

from accounts.models import Tenant
from tests.inspection.pages import ACME, D1, LOOK, plain, text


def test_whoever_reads_by_sql_is_not_said_to_have_changed_something(root):
    LogEntry.objects.using("default").filter(object_repr="SQL on Tenant acme").delete()
    root.post(f"{ACME}sql/", {"sql": "SELECT 1"})
    entry = LogEntry.objects.using("default").get(object_repr="SQL on Tenant acme")
    assert not (entry.is_addition() or entry.is_change() or entry.is_deletion())
    assert "SQL on Tenant acme read" in plain(root.get("/admin/"))
    log = plain(root.get("/admin/admin/logentry/"))
    assert re.search(r"SQL on Tenant acme Read", log)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("c=nosuch&o=is&v=1", "the filter “nosuch is 1”"),
        ("c=title&o=like&v=1", "the filter “title like 1”"),
        ("c=title", "the filter “title”"),
        ("c=title&o=is&v=a&c=<b>&o=has&v=2", "the filter “&lt;b&gt; contains 2”"),
        ("sort=-nosuch", "the order by “nosuch”"),
    ],
)
def test_a_filter_that_the_table_cannot_answer_is_named(root, query, named):
    page = text(root.get(f"{ACME}tables/blog_post/?{query}"))
    assert f"does not fit this table: {named}" in page
    assert ("Remove the filter title is a" in page) == ("c=title&o=is" in query)


def test_a_filter_that_the_table_answers_is_not_complained_of(root):
    assert "does not fit" not in text(root.get(f"{ACME}tables/blog_post/?c=title&o=is&v=1&sort=-id"))


def test_tenants_are_found_by_what_they_are_called(root, site):
    Tenant.objects.filter(slug="acme").update(name="Rocket & Anvil Works")
    try:
        page = root.get("/admin/databases/?q=anvil")
        assert f'href="{ACME}"' in text(page)
        assert "Rocket & Anvil Works" in plain(page).replace("&amp;", "&")
        assert "globex" not in text(page).partition("result_list")[2]
        offered = root.get("/admin/switch/tenants.json?q=anvil").json()["databases"]
        assert [(item["slug"], item["name"]) for item in offered] == [("acme", "Rocket & Anvil Works")]
    finally:
        Tenant.objects.filter(slug="acme").update(name="Acme")


def test_what_is_missing_or_not_allowed_is_said_inside_of_the_admin(root, staff):
    for path in (
        "/admin/nosuch/",
        f"{ACME}tables/nosuch/",
        "/admin/databases/tenant/nobody/",
        "/t/acme/admin/nosuch/",
    ):
        page = root.get(path)
        assert page.status_code == 404, path
        assert "This page does not exist in the admin of" in plain(page)
        assert 'id="database-bar"' in text(page)
    sam = staff(LOOK)
    page = sam.get(f"{D1}sql/")
    assert page.status_code == 403
    assert "You do not have permission" in plain(page)
    assert 'id="database-bar"' in text(page)
    # Others learn nothing of it.
    from django.test import Client

    assert Client().get("/admin/nosuch/").status_code == 302


def test_a_tenants_page_in_the_directorys_admin_is_headed_by_the_tenant(root):
    for path in (ACME, f"{ACME}migrations/", f"{ACME}tables/blog_post/"):
        page = text(root.get(path))
        assert '<span id="site-name">Tenant acme</span>' in page
        assert re.search(r"<title>[^<]*Tenant acme[^<]*</title>", page)
        # As the way there alone.
        assert page.count("D1, the shared database") == 0
