"""The site in a real browser: a member writes in one tenant, and staff find the post in its admin alone."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import needs_browser, watched

PASSWORD = "a-pass-word"
TITLE = "Written in a browser"

pytestmark = needs_browser


@pytest.fixture
def long_post(write_post):
    """A post with a word that is longer than a narrow screen."""
    return write_post(title="A title", content="long" * 100)


@pytest.fixture
def demo_posts(write_post):
    """Some of the demo posts, so that a picture has something to show."""
    from blog.demo import POSTS

    for number, (_, _, title, content) in enumerate(POSTS):
        published = datetime(2026, 3, 20 - number, 9, tzinfo=UTC)
        write_post(author=("ada", "bo")[number % 2], title=title, content=content, published_at=published)


@pytest.fixture
def page(chromium, server):
    """A page of the site, for a visitor."""
    with watched(chromium, server) as make:
        yield make(viewport={"width": 1100, "height": 760})


def sign_in(page, name, path):
    page.goto(path)
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def test_a_member_writes_a_post_that_its_tenant_and_its_admin_show_and_no_other(page):
    sign_in(page, "bo", "/t/acme/")
    page.get_by_role("link", name="Write a post").click()
    page.get_by_label("Title").fill(TITLE)
    page.get_by_label("Content").fill("First paragraph.\n\nSecond paragraph.")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    expect(page.get_by_text("Second paragraph.")).to_be_visible()

    page.goto("/t/acme/")
    expect(page.get_by_role("link", name=TITLE)).to_be_visible()
    page.goto("/t/globex/")
    expect(page.get_by_text("Tenant: globex")).to_be_visible()
    expect(page.get_by_role("link", name=TITLE)).to_have_count(0)
    page.get_by_role("button", name="Log out").click()

    sign_in(page, "root", "/t/acme/")
    page.get_by_role("link", name="Admin").click()
    page.get_by_role("link", name="Posts", exact=True).first.click()
    expect(page.get_by_text("Database: Tenant acme")).to_be_visible()
    expect(page.get_by_role("link", name=TITLE)).to_be_visible()
    page.keyboard.press("Control+k")
    page.get_by_label("Search databases").fill("globex")
    expect(page.locator("#switcher li")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Database: Tenant globex")).to_be_visible()
    expect(page.get_by_text("0 posts")).to_be_visible()
    expect(page.get_by_role("link", name=TITLE)).to_have_count(0)


def test_the_first_thing_that_the_keyboard_reaches_leads_past_the_navigation(page):
    page.goto("/t/acme/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_pages_fit_a_narrow_screen(long_post, page):
    page.set_viewport_size({"width": 320, "height": 640})
    for path in ("/", "/t/acme/", f"/t/acme/posts/{long_post}/", "/accounts/login/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS names no folder to write them to")
def test_screenshots_for_the_readme(demo_posts, page):
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    sign_in(page, "root", "/t/acme/")
    expect(page.get_by_role("link", name="Admin")).to_be_visible()
    page.screenshot(path=folder / "tenant.png")
    page.goto("/t/acme/admin/blog/post/")
    expect(page.get_by_text("Database: Tenant acme")).to_be_visible()
    page.screenshot(path=folder / "admin.png")
    assert all(0 < file.stat().st_size < 200_000 for file in folder.glob("*.png"))


def test_the_admins_widgets_work_under_the_policy(long_post, page):
    sign_in(page, "root", "/t/acme/")
    page.goto(f"/t/acme/admin/blog/post/{long_post}/change/")
    page.locator(".datetimeshortcuts").get_by_text("Today").first.click()
    expect(page.locator("#id_published_at_0")).to_have_value(re.compile(r"\d{4}-\d\d-\d\d"))
    page.locator(".select2-selection").first.click()
    expect(page.get_by_role("option").first).to_be_visible()
    for path in ("accounts/user/add/", "auth/group/add/", "databases/", "password_change/"):
        page.goto(f"/admin/{path}")
        expect(page.locator("h1").first).to_be_visible()
