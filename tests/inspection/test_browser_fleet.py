"""All databases, jobs, usage and homes in a real browser: mouse, keyboard alone, phone, light and dark."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import Tenant
from do_bridge.inspection.jobs import running, state
from do_bridge.inspection.models import Item, Job, Look, Usage
from do_bridge.inspection.usage.counting import day, hour
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.browser import AXE, CONTRAST, DESK, FAULTS, PHONE, UNNAMED, needs_browser

pytestmark = needs_browser
LIST = "/admin/databases/"
HOME = f"{LIST}tenant/acme/home/"
USAGE = f"{LIST}tenant/acme/usage/"
LONGEST = "a" + "w" * 62


@pytest.fixture
def fleet(site, write_post):
    """Twelve more tenants in D1 alone, one of the longest slug, with looks and the use of acme."""
    write_post()
    slugs = [f"crew-{number:02}" for number in range(11)] + [LONGEST]
    Tenant.objects.bulk_create(Tenant(slug=slug, name=f"The {slug} of the harbour") for slug in slugs)
    rows = [
        ledger.new_state(
            slug,
            state=ledger.READY,
            fingerprint=code_fingerprint() if number < 6 else "f" * 64,
            error="OperationalError: the object did not answer in time" if number == 9 else "",
            operation="migrate" if number == 9 else "",
        )
        for number, slug in enumerate(slugs)
    ]
    fields = ["state", "fingerprint", "error", "operation"]
    ledger.all_states().bulk_create(rows, update_conflicts=True, unique_fields=["slug"], update_fields=fields)
    now = timezone.now()
    Look.objects.all().delete()
    Look.objects.bulk_create(
        Look(
            database=f"tenant/{slug}",
            state="dead" if number == 10 else "head",
            size=90_000 * (number + 1),
            rows=120 * number,
            activity=now - timedelta(hours=number),
            seen=now,
        )
        for number, slug in enumerate(slugs)
    )
    start = hour(datetime.now(UTC))
    Usage.objects.bulk_create(
        Usage(
            database="tenant/acme",
            start=start - timedelta(hours=n),
            calls=40 + (n * 37) % 60,
            rows_read=900 + (n * 211) % 700,
            rows_written=(n * 13) % 40,
        )
        for n in range(24)
    )
    Usage.objects.bulk_create(
        Usage(
            database="tenant/acme", start=day(start) - timedelta(days=n), hours=24, calls=900 + (n * 97) % 500
        )
        for n in range(3, 30)
    )
    yield slugs
    for thread in [one for one in running.threading.enumerate() if one.name.startswith("do-bridge-job")]:
        thread.join(60)
    for model in (Item, Job, Usage, Look):
        model.objects.all().delete()
    ledger.all_states().filter(slug__in=slugs).update(state=ledger.DELETED, operation="", error="")
    Tenant.objects.filter(slug__in=slugs)._raw_delete("default")
    ledger.forget(slugs)


@pytest.fixture
def job(fleet):
    """A job that has ended, with one failure."""
    made = state.start("check", ["crew-00", "crew-01"], "root")
    outcomes = {"crew-00": ("ok", "fine"), "crew-01": ("failed", "Tenant crew-01: 2 tables are missing")}
    for slug, (outcome, text) in outcomes.items():
        Item.objects.filter(job=made, database=f"tenant/{slug}").update(outcome=outcome, text=text)
    Job.objects.update(state="done", ended=timezone.now())
    return made


def test_a_job_is_started_by_the_keyboard_alone_watched_left_and_found_again(open_page, fleet, monkeypatch):
    gate = running.threading.Event()

    def work(name):
        def one(chunk):
            gate.wait(60)
            return [(slug, slug == "crew-07", "no reason" if slug == "crew-07" else "fine") for slug in chunk]

        return one

    monkeypatch.setattr(running, "worker", work)
    monkeypatch.setattr(state, "CHUNK", 3)
    page = open_page()
    page.goto(f"{LIST}?q=crew&state=behind")
    page.get_by_label("Action:").focus()
    page.keyboard.type("Check")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Select all 4 that are behind")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Check: 4 tenants").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("0 of 4 databases, 0 failed.")).to_be_visible()
    # Left, and found again in the list.
    page.goto(LIST)
    page.get_by_role("link", name="check 4 databases").click()
    gate.set()
    expect(page.get_by_text("4 of 4 databases, 1 failed.", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Try the 1 failed again")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="crew-07")).to_contain_text("no reason")


def test_tiles_search_and_order_work_with_a_mouse(open_page, fleet, monkeypatch):
    # Opening the list looks again.
    monkeypatch.setitem(connections["tenant/crew-10"].settings_dict, "HOST", "http://127.0.0.1:9")
    page = open_page()
    page.goto(LIST)
    page.get_by_role("link", name="Silent").click()
    expect(page.locator("tr[data-facts]")).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("Search tenants").fill("harbour")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tr[data-facts]")).to_have_count(12)
    page.get_by_role("link", name="Size on disk").click()
    # It keeps the size of its last look, the others are empty.
    expect(page.locator("tr[data-facts] th").first).to_contain_text("crew-10")
    page.get_by_role("link", name="Size on disk").click()
    expect(page.locator('th[aria-sort="ascending"]')).to_have_text("Size on disk")


def test_a_tenant_is_copied_and_deleted_from_its_home_by_the_keyboard_alone(open_page, fleet):
    from do_bridge.tenancy.tenants import is_registered

    page = open_page()
    page.goto(HOME)
    page.get_by_label("Slug of the copy").focus()
    page.keyboard.type("copied")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Tenant copied was made as a copy of acme.")).to_be_visible()
    page.locator("#id_delete-typed").focus()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This is not the slug of this tenant.")).to_be_visible()
    page.locator("#id_delete-typed").fill("copied")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Tenant copied was deleted.")).to_be_visible()
    assert not is_registered("copied")


def test_a_dump_is_downloaded_and_restored_from_the_home(open_page, fleet, tmp_path):
    page = open_page()
    page.goto(HOME)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    file = tmp_path / "acme.sqlite3"
    download.value.save_as(file)
    page.get_by_label("SQLite file").set_input_files(file)
    page.locator("#id_restore-typed").fill("acme")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("Tenant acme has the data of the file.")).to_be_visible()


def test_everything_is_there_without_javascript(open_page, fleet, job):
    page = open_page(java_script_enabled=False)
    page.goto(f"{LIST}?o=-size")
    expect(page.locator("tr[data-facts]").nth(1)).to_contain_text(LONGEST)
    page.get_by_role("link", name="Usage of Tenant acme").click()
    expect(page.get_by_role("img")).to_have_count(6)
    page.goto(f"{LIST}jobs/{job.pk}/")
    expect(page.get_by_text("2 of 2 databases, 1 failed.")).to_be_visible()


def test_the_pages_fit_a_phone_are_readable_in_light_and_dark_and_name_their_fields(open_page, fleet, job):
    # The test's own style would be an inline one, which the site's policy refuses.
    page = open_page(viewport=PHONE, bypass_csp=True)
    for path in (LIST, HOME, USAGE, f"{LIST}shared/usage/", f"{LIST}jobs/{job.pk}/"):
        page.goto(path)
        expect(page.locator("h1").last).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate(UNNAMED) == [], path
        page.add_style_tag(content="* { transition: none !important }")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CONTRAST) == [], (path, scheme)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed; `make test` installs it")
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_nothing_in_light_and_dark(open_page, fleet, job, viewport):
    # The style is an inline one, which the site's policy refuses.
    page, faults = open_page(viewport=viewport, bypass_csp=True), []
    for path in (LIST, HOME, USAGE, f"{LIST}jobs/{job.pk}/"):
        page.goto(path)
        page.add_style_tag(content="* { transition: none !important }")
        page.evaluate(AXE.read_text())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            faults += [(path, scheme, fault) for fault in page.evaluate(FAULTS)]
    assert faults == []


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_the_longest_slug_leaves_its_home_as_wide_as_the_page(open_page, fleet, viewport):
    page = open_page(viewport=viewport)
    for path in (f"{LIST}?q={LONGEST}", f"{LIST}tenant/{LONGEST}/home/", f"{LIST}tenant/{LONGEST}/usage/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS names no folder to write them to")
def test_screenshots_for_the_docs(open_page, fleet, job, monkeypatch):
    # The tests themselves are not counted.
    monkeypatch.setattr("do_bridge.inspection.home.usage.conf", lambda name: conf(name) or name == "USAGE")
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    shots = {
        "databases": (LIST, {}),
        "databases-phone": (LIST, {"viewport": PHONE, "color_scheme": "dark"}),
        "home": (HOME, {}),
        "home-dark": (HOME, {"color_scheme": "dark"}),
        "home-phone": (HOME, {"viewport": PHONE}),
        "usage": (USAGE, {}),
        "usage-dark": (USAGE, {"color_scheme": "dark"}),
        "usage-phone": (USAGE, {"viewport": PHONE}),
        "job": (f"{LIST}jobs/{job.pk}/", {}),
    }
    for name, (path, options) in shots.items():
        page = open_page(**options)
        page.goto(path)
        if path == LIST:
            expect(page.locator("#facts-told")).to_contain_text("read")
        page.screenshot(path=folder / f"{name}.png")
        if "FULL" in os.environ:
            page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert 0 < (folder / f"{name}.png").stat().st_size < 400_000
