"""The inspection in a real browser: with a mouse, by the keyboard alone, on a phone, in the dark."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading import facts as facts_module
from tests.browser import CONTRAST, DESK, PHONE, UNNAMED, needs_browser

expect.set_options(timeout=60_000)
PAGES = ("/admin/databases/",)
pytestmark = [needs_browser, pytest.mark.usefixtures("posts")]


@pytest.fixture
def posts(site):
    """The demo posts, in acme."""
    from blog.demo import POSTS
    from blog.models import Post

    authors = (site.ada.pk, site.bo.pk)
    Post.objects.using("tenant/acme").bulk_create(
        [
            Post(title=title, content=content, user_id=authors[number % 2])
            for number, (_, _, title, content) in enumerate(POSTS)
        ]
    )


def row_of(page, name):
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def test_the_list_fills_itself_in_and_a_busy_tenant_holds_up_no_other(open_page, monkeypatch):
    monkeypatch.setattr(facts_module, "SECONDS", 1.0)
    page = open_page()
    with Inspected("globex").connect(20) as busy:
        busy.lease = 20
        busy.begin()
        busy.execute("SELECT 1")
        page.goto("/admin/databases/")
        expect(row_of(page, "acme")).to_contain_text("up to date")
        expect(row_of(page, "D1, the shared database")).to_contain_text("up to date")
        expect(row_of(page, "globex")).to_contain_text("no answer within")
        busy.rollback()
    expect(page.locator("#facts-told")).to_have_text("3 databases read, 1 without an answer.")
    expect(row_of(page, "acme").locator('[data-fact="ms"]')).to_contain_text("ms")


def test_from_the_list_to_a_row_and_back_by_real_links(open_page):
    page = open_page()
    page.goto("/admin/databases/")
    page.get_by_role("link", name="acme", exact=True).click()
    expect(page.get_by_text("Database: Tenant acme")).to_be_visible()
    page.get_by_role("navigation", name="Tables").get_by_role("link", name="blog_post").click()
    page.get_by_label("Filter by").select_option("title")
    page.get_by_label("Comparison").select_option("has")
    page.get_by_label("Value", exact=True).fill("e")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("list", name="Filters")).to_contain_text("title contains e")
    page.get_by_role("link", name="title", exact=True).click()
    expect(page.get_by_role("columnheader", name="title ▲")).to_be_visible()
    page.get_by_role("link", name="Open row").first.click()
    page.get_by_role("link", name="→ accounts_user").click()
    expect(page.get_by_text("hidden, because it is a secret")).to_be_visible()
    page.get_by_role("navigation", name="Breadcrumbs").get_by_role("link", name="Databases").click()
    expect(page.get_by_role("heading", name="Databases")).to_be_visible()


def test_everything_is_done_by_the_keyboard(open_page):
    page = open_page()
    page.goto("/admin/databases/")
    page.get_by_label("Select Tenant acme").focus()
    page.keyboard.press("Space")
    page.get_by_label("Action:").focus()
    page.keyboard.type("Check")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Check").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Tenant acme: no damage, up to date, and matches the models.")).to_be_visible()


def test_the_pages_are_readable_in_light_and_dark_fit_a_phone_and_name_their_fields(open_page):
    # The test's own style would be an inline one, which the site's policy refuses.
    page = open_page(viewport=PHONE, bypass_csp=True)
    for path in PAGES:
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate(UNNAMED) == [], path
        page.add_style_tag(content="* { transition: none !important }")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CONTRAST) == [], (path, scheme)


@pytest.fixture
def longest(site):  # noqa: F811 - a fixture's name
    """A tenant in D1 alone, of the longest slug that there can be and a long name."""
    from accounts.models import Tenant

    slug = "a" + "w" * 62
    Tenant.objects.create(slug=slug, name="Rocket " * 20)
    yield slug
    Tenant.objects.filter(slug=slug)._raw_delete("default")


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_the_longest_slug_leaves_the_list_as_wide_as_the_page(longest, open_page, viewport):
    page = open_page(viewport=viewport)
    page.goto(f"/admin/databases/?q={longest}")
    expect(row_of(page, longest)).to_be_visible()
    for wide in ("document.documentElement", "document.querySelector('.results')"):
        assert page.evaluate(f"{wide}.scrollWidth <= {wide}.clientWidth"), wide


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS names no folder to write them to")
def test_screenshots_for_the_readme(open_page):
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(name, path, **options):
        page = open_page(**options)
        page.goto(path)
        if path == "/admin/databases/":
            expect(page.locator("#facts-told")).to_contain_text("databases read")
        page.screenshot(path=folder / f"{name}.png")
        return page

    shoot("databases", "/admin/databases/")
    shoot("databases-phone", "/admin/databases/", viewport=PHONE, color_scheme="dark")
    assert all(0 < file.stat().st_size < 200_000 for file in folder.glob("*.png"))
