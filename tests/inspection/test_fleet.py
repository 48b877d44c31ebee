"""The list of all databases: tiles, filters, order and search, in a fixed number of round trips."""

import re

import pytest
from django.utils import timezone

from accounts.models import Tenant
from do_bridge.inspection.fleet import listing
from do_bridge.inspection.models import Look
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.inspection.pages import LOOK, plain, text

LIST = "/admin/databases/"


@pytest.fixture(autouse=True)
def up_to_date(site):
    """Records acme and globex as up to date, whatever another test has left in the ledger, or emptied."""
    ledger.reached(site.tenants, code_fingerprint())


@pytest.fixture
def fleet(site):
    """430 tenants in D1 alone: 30 up to date, 380 behind, 20 failed, 12 of them silent; acme and globex."""
    slugs = [f"fleet-{number:03}" for number in range(430)]
    Tenant.objects.bulk_create(Tenant(slug=slug, name=f"Crew {slug[-3:]}") for slug in slugs)
    states = [
        ledger.new_state(
            slug,
            state=ledger.READY,
            fingerprint=code_fingerprint() if number < 30 else "f" * 64,
            operation="migrate" if number >= 410 else "",
            error="OperationalError: as if" if number >= 410 else "",
        )
        for number, slug in enumerate(slugs)
    ]
    fields = ["state", "fingerprint", "operation", "error"]
    # D1's trigger has made rows for them.
    ledger.all_states().bulk_create(
        states, update_conflicts=True, unique_fields=["slug"], update_fields=fields
    )
    now = timezone.now()
    Look.objects.all().delete()
    Look.objects.bulk_create(
        Look(
            database=f"tenant/{slug}",
            state="dead" if 100 <= number < 112 else "behind",
            size=4096 * number,
            rows=number,
            activity=now,
            seen=now,
        )
        for number, slug in enumerate(slugs)
    )
    yield slugs
    Look.objects.all().delete()
    ledger.all_states().filter(slug__startswith="fleet-").update(state=ledger.DELETED, operation="", error="")
    Tenant.objects.filter(slug__startswith="fleet-")._raw_delete("default")
    ledger.forget(slugs)


def shown(page):
    return re.findall(r"/admin/databases/tenant/([a-z0-9-]+)/facts.json", text(page))


def test_the_tiles_count_what_d1_knows_and_lead_to_it(fleet, root):
    page = plain(root.get(LIST))
    for tile in ("432 Tenants", "32 Up to date", "380 Behind", "20 Failed", "12 Silent"):
        assert tile in page, tile
    assert "Total size of 430 measured" in page
    assert "Select all 432" in page


@pytest.mark.parametrize(
    ("state", "count", "first"),
    [
        ("head", 32, "acme"),
        ("behind", 380, "fleet-030"),
        ("failed", 20, "fleet-410"),
        ("silent", 12, "fleet-100"),
    ],
)
def test_a_state_filters_the_list(fleet, root, state, count, first):
    page = root.get(f"{LIST}?state={state}")
    assert shown(page)[0] == first
    assert len(shown(page)) == min(count, 50)
    assert f"Select all {count} that are" in plain(page)


def test_the_search_finds_slugs_and_names_and_keeps_the_state(fleet, root):
    assert shown(root.get(f"{LIST}?q=crew 41")) == [f"fleet-41{number}" for number in range(10)]
    assert shown(root.get(f"{LIST}?q=fleet-1&state=silent"))[0] == "fleet-100"
    assert shown(root.get(f"{LIST}?q=crew 42&state=head")) == []


def test_the_list_is_sorted_by_the_last_look_over_all_pages(fleet, root):
    assert shown(root.get(f"{LIST}?o=-size"))[:2] == ["fleet-429", "fleet-428"]
    assert shown(root.get(f"{LIST}?o=size"))[:2] == ["fleet-000", "fleet-001"]
    assert shown(root.get(f"{LIST}?o=-rows&p=2"))[0] == "fleet-379"
    assert 'aria-sort="descending"' in text(root.get(f"{LIST}?o=-size"))
    # Tenants that nobody has looked at come last.
    assert shown(root.get(f"{LIST}?o=activity&p=9"))[-2:] == ["acme", "globex"]


@pytest.mark.parametrize("query", ["o=password", "o=-", "state=nothing", "p=9999", "p=x", "q=%00"])
def test_what_the_url_asks_for_in_vain_is_left_out(fleet, root, query):
    assert root.get(f"{LIST}?{query}").status_code == 200


def test_the_list_takes_as_many_round_trips_for_430_tenants_as_for_two(site, root, count_trips, request):
    root.get(LIST)

    def trips(url):
        with count_trips() as counted:
            assert root.get(url).status_code == 200
        return counted.count

    few = [trips(LIST), trips(f"{LIST}?q=a&state=head&o=-size")]
    request.getfixturevalue("fleet")
    root.get(LIST)
    many = [trips(LIST), trips(f"{LIST}?q=a&state=head&o=-size")]
    # Session with its user; schemas, tiles, rows, ledger, costs, jobs. The switcher's slugs are cached.
    assert few == many == [7, 7]


def test_a_look_is_stored_and_one_without_an_answer_keeps_its_numbers(site, root, monkeypatch):
    Look.objects.all().delete()
    root.get(f"{LIST}tenant/acme/facts.json")
    first = Look.objects.get(database="tenant/acme")
    assert first.rows > 0
    from django.db import connections

    monkeypatch.setitem(connections["tenant/acme"].settings_dict, "HOST", "http://127.0.0.1:9")
    assert root.get(f"{LIST}tenant/acme/facts.json").json()["state"] == "dead"
    second = Look.objects.get(database="tenant/acme")
    assert (second.state, second.rows, second.size) == ("dead", first.rows, first.size)
    Look.objects.all().delete()


def test_who_may_not_look_sees_neither_list_nor_jobs(staff):
    client = staff()
    for path in (LIST, f"{LIST}jobs/1/", f"{LIST}shared/usage/", f"{LIST}tenant/acme/home/"):
        assert client.get(path).status_code == 403, path


def test_the_use_of_a_database_is_shown_to_who_may_look(staff):
    client = staff(LOOK)
    for path in (f"{LIST}shared/usage/", f"{LIST}tenant/acme/usage/"):
        page = client.get(path)
        assert page.status_code == 200
        assert text(page).count('role="img"') == 6
    assert client.get(f"{LIST}shared/home/").status_code == 404


def test_a_page_shows_the_size_of_the_last_look_of_a_dead_database(site, root, monkeypatch):
    from django.db import connections

    now = timezone.now()
    Look.objects.create(database="tenant/acme", state="head", size=5_000_000, seen=now)
    with monkeypatch.context() as patched:
        patched.setitem(connections["tenant/acme"].settings_dict, "HOST", "http://127.0.0.1:9")
        assert "at the last look 4.8" in plain(root.get(f"{LIST}tenant/acme/usage/"))
    Look.objects.all().delete()


def test_asked_reads_a_query():
    from django.http import QueryDict

    asked = listing.Asked.of(QueryDict("q=%20x%20&state=silent&o=-rows"))
    assert asked == listing.Asked("x", "silent", "rows", True)
