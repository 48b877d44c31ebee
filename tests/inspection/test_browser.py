"""The inspection in a real browser: with a mouse, by the keyboard alone, on a phone, in the dark."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading import facts as facts_module
from tests.site.test_browser import BROWSER, server  # noqa: F401 - a fixture

expect.set_options(timeout=60_000)
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1200, "height": 800}
PAGES = ("/admin/databases/",)
# The contrast of text and what is behind it, as https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio counts it.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll("#content-main *, #database-bar *")) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!text || !node.checkVisibility() || node.tagName === "OPTION") continue;
    const pair = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const name = `${node.tagName} ${node.className} ${node.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${name}`);
  }
  return bad;
}"""
UNNAMED = """() => {
  const fields = "#content-main :is(input, select, textarea, a, button), #database-bar :is(input, a, button)";
  return [...document.querySelectorAll(fields)]
    .filter((node) => node.type !== "hidden" && !node.labels?.length && !node.getAttribute("aria-label"))
    .filter((node) => !node.textContent.trim())
    .map((node) => node.outerHTML);
}"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")


@pytest.fixture
def posts(site):  # noqa: F811 - a fixture's name
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


@pytest.fixture
def open_page(server, sign_in, posts):  # noqa: F811 - a fixture's name
    """Opens pages of the site for root; failed requests and script errors fail the test."""
    # Before the browser: its loop keeps Django's ORM from this thread.
    session = sign_in("root").cookies["sessionid"].value
    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])

        def make(**options):
            context = browser.new_context(base_url=server, **{"viewport": DESK, **options})
            context.add_cookies([{"name": "sessionid", "value": session, "url": server}])
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.append(said.text) if "Policy" in said.text else None)
            page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 500 else None)
            return page

        yield make
        browser.close()
    assert errors == []


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
