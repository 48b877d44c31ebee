"""One database's pages in a real browser: two widths, light and dark, keys alone, and without scripts."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from do_bridge.inspection.inspected import Inspected
from tests.browser import AXE, DESK, FAULTS, PHONE, needs_browser
from tests.inspection.pages import ACME, D1
from tests.inspection.test_browser import posts  # noqa: F401 - a fixture

POSTS = f"{ACME}tables/blog_post/"
PAGES = (
    ACME,
    POSTS,
    f"{POSTS}?c=title&o=has&v=a&c=nosuch&o=is&v=1",
    f"{POSTS}rows/1/",
    f"{D1}structure/",
    f"{ACME}structure/blog_post/",
    f"{ACME}sql/",
    f"{ACME}migrations/",
    f"{ACME}health/",
    f"{ACME}tables/nosuch/",
    "/admin/switch/",
)
JOIN = (
    "SELECT u.username, count(*) AS posts, max(p.published_at) AS newest\n"
    "FROM blog_post p JOIN accounts_user u ON u.id = p.user_id\nGROUP BY u.id ORDER BY posts DESC"
)

pytestmark = [needs_browser, pytest.mark.usefixtures("posts")]


@pytest.fixture
def numbers(scratch):
    """A table of 60 rows, whose last column has a text of a megabyte."""
    scratch(
        'CREATE TABLE "numbers" (id integer PRIMARY KEY, n integer, word text)',
        "INSERT INTO numbers SELECT value, value * 7, NULL FROM (WITH RECURSIVE c(value) AS "
        "(SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 60) SELECT value FROM c)",
        "UPDATE numbers SET word = replace(hex(zeroblob(500000)), '0', 'z') WHERE id = 1",
    )


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed; `make test` installs it")
def test_axe_finds_nothing_and_each_page_fits_in_light_and_dark(open_page):
    axe, faults = AXE.read_text(), []
    for viewport in (DESK, PHONE):
        # The style is an inline one, which the site's policy refuses.
        page = open_page(viewport=viewport, bypass_csp=True)
        for path in PAGES:
            page.goto(path)
            expect(page.locator("h1").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path
            page.add_style_tag(content="* { transition: none !important }")
            page.evaluate(axe)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                faults += [(path, scheme, fault) for fault in page.evaluate(FAULTS)]
    assert faults == []


def test_the_keyboard_alone_reads_writes_a_statement_and_switches(open_page):
    page = open_page()
    read_by_keys(page)
    write_by_keys(page)
    page.keyboard.press("Control+k")
    expect(page.locator("#switcher li")).to_have_count(3)
    page.keyboard.type("lob")
    expect(page.locator("#switcher li")).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url("**/tenant/globex/sql/")
    assert page.title().endswith("Tenant globex")


def read_by_keys(page):
    page.goto(ACME)
    page.keyboard.press("/")
    page.keyboard.type("log_p")
    expect(page.get_by_role("link", name="accounts_user", exact=True).first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="blog_post")).to_be_visible()
    page.locator("table[data-cells] td[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    panel = page.get_by_role("dialog", name="content")
    expect(panel.get_by_text("characters")).to_be_visible()
    expect(panel.get_by_role("region", name="Value")).to_contain_text("nine on my bench")
    expect(panel.get_by_role("link", name="Edit")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.column") == "content"


def write_by_keys(page):
    page.goto(f"{ACME}sql/")
    editor = page.get_by_role("textbox", name="One statement that reads")
    expect(editor).to_be_focused()
    page.keyboard.type("SELECT title FROM blog_p")
    expect(page.get_by_role("option", name="blog_post")).to_be_visible()
    # The editor takes no Enter for the list in its first 75 ms, for those who type on.
    page.wait_for_timeout(200)
    page.keyboard.press("Enter")
    page.keyboard.type(" WHERE blog_post.tit")
    expect(page.get_by_role("option", name="title")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.type("le LIKE '%lamp%'")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("gridcell", name="The lamp is back")).to_be_visible()
    expect(page.locator("ul.plan")).to_contain_text("SCAN blog_post")
    expect(page.locator("#history-title ~ ul")).to_contain_text("LIKE '%lamp%'")


def test_the_mouse_reads_values_saves_queries_and_exports(open_page, numbers):
    page = open_page()
    page.goto(f"{ACME}tables/numbers/")
    rows = "document.querySelectorAll('table.rows tbody tr').length"
    assert page.evaluate(rows) == 50
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * DESK["height"]
    page.locator("td[data-column=word]").first.click()
    panel = page.get_by_role("dialog", name="word")
    expect(panel.get_by_text("1,000,000 characters")).to_be_visible()
    panel.get_by_role("link", name="Open row").click()
    expect(page.get_by_role("heading", name="numbers 1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * DESK["height"]
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("heading", name="numbers 2")).to_be_visible()
    page.goto(f"{ACME}tables/numbers/?c=n&o=lt&v=20")
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert Path(download.value.path()).read_text().splitlines()[2] == "2,14,"

    page.goto(f"{ACME}structure/")
    page.locator("svg a[data-box=numbers]").click()
    expect(page.get_by_role("heading", name="numbers")).to_be_visible()
    page.goto(f"{ACME}sql/?sql=SELECT+1+AS+one")
    page.get_by_label("Name", exact=True).fill("One")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="One", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("gridcell", name="1")).to_be_visible()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("gridcell", name="1")).to_be_visible()
    page.get_by_role("button", name="Delete One").click()
    expect(page.get_by_text("The saved query was deleted.")).to_be_visible()


def test_everything_works_on_a_phone_without_javascript(open_page):
    page = open_page(viewport=PHONE, java_script_enabled=False)
    page.goto(ACME)
    page.get_by_role("link", name="Tables", exact=True).click()
    page.get_by_role("navigation", name="Tables").get_by_role("link", name="blog_post").click()
    page.get_by_role("link", name="Open row").first.click()
    expect(page.get_by_role("heading", name="blog_post")).to_be_visible()
    page.get_by_role("link", name="→ accounts_user").click()
    expect(page.get_by_text("Rows that point here")).to_be_visible()
    page.get_by_role("link", name="SQL", exact=True).click()
    page.get_by_label("One statement that reads").fill("SELECT 6 * 7 AS answer")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("cell", name="42")).to_be_visible()
    page.locator("#database-chip").click()
    page.get_by_role("link", name="globex").click()
    page.wait_for_url("**/tenant/globex/sql/")


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS names no folder to write them to")
def test_screenshots_for_the_docs(open_page):
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)

    def run(page):
        page.locator(".cm-content").fill(JOIN)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("gridcell").first).to_be_visible()

    def value(page):
        page.locator("td[data-column=content]").first.click()
        expect(page.locator("#cell")).to_contain_text("characters")

    def shoot(name, path, act=None, **options):
        page = open_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        page.goto(path)
        if act:
            act(page)
        page.screenshot(path=folder / f"{name}.png")
        assert 0 < (folder / f"{name}.png").stat().st_size < 200_000

    shoot("database", ACME)
    shoot("rows-dark", POSTS, value, color_scheme="dark")
    shoot("structure", f"{D1}structure/")
    shoot("sql", f"{ACME}sql/", run)
    shoot("sql-phone", f"{ACME}sql/", run, viewport=PHONE, color_scheme="dark")
    assert Inspected("acme").label == "Tenant acme"
