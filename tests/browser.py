"""A real browser for tests of pages: one for a module, with contexts whose faults fail the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1200, "height": 800}
EDITOR = Path(__file__).resolve().parents[1] / "do_bridge" / "inspection" / "editor"
AXE = EDITOR / "node_modules" / "axe-core" / "axe.min.js"
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
# Django's own header and footer are not ours.
FAULTS = """async () => {
  const found = await axe.run({ include: [["#database-bar"], ["#content-start"]] });
  const shown = ({ html, any }) => `${html.slice(0, 100)} ${any.map((one) => one.message).join()}`;
  return found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map(shown).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the module."""
    # Playwright's loop runs in this thread, and Django would keep its ORM from it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def server(site: Any, settings: Any) -> Iterator[str]:
    """A threaded server of the site; its URL."""
    from pytest_django.live_server_helper import LiveServer

    settings.ALLOWED_HOSTS = ["localhost"]
    live = LiveServer("localhost")
    yield live.url
    live.stop()


@contextmanager
def watched(chromium: Any, server: str) -> Iterator[Any]:
    """Give a function that makes contexts of the site, each with a page, and returns the page.

    Failed requests, script errors and what the policy stops fail the test in the end.
    """
    errors: list[str] = []
    contexts = []

    def make(**options: Any) -> Any:
        context = chromium.new_context(base_url=server, **{"viewport": DESK, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Policy" in said.text else None)
        page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 500 else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def open_page(chromium: Any, server: str, sign_in: Any) -> Iterator[Any]:
    """Opens pages of the site for root."""
    session = sign_in("root").cookies["sessionid"].value
    with watched(chromium, server) as make:

        def opened(**options: Any) -> Any:
            page = make(**options)
            page.context.add_cookies([{"name": "sessionid", "value": session, "url": server}])
            return page

        yield opened
