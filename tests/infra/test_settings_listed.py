"""Every setting that the site reads is in `.env.example` and in the docs' table, and nothing else is."""

import ast
import re
from pathlib import Path

import pytest

from do_bridge.relay.settings import ACCOUNT
from do_bridge.relay.tokens import OPTIONAL_TOKENS
from tests.conftest import site_environment

ROOT = Path(__file__).resolve().parents[2]
# Read by the tools around the site; the page explains them below the table.
TOOLS = {ROOT / "project" / "serve.py"}


def environment_name(node: ast.AST) -> str | None:
    """The NAME of env("NAME"), env.bool("NAME"), os.environ.get("NAME") and os.environ["NAME"]."""
    if isinstance(node, ast.Call) and node.args:
        called, argument = ast.unparse(node.func), node.args[0]
        known = called == "env" or called.startswith("env.") or called == "os.environ.get"
    elif isinstance(node, ast.Subscript):
        argument, known = node.slice, ast.unparse(node.value) == "os.environ"
    else:
        return None
    is_name = isinstance(argument, ast.Constant) and re.fullmatch(r"[A-Z0-9_]+", str(argument.value))
    return str(argument.value) if known and is_name else None


def names_in_code() -> set[str]:
    files = {path for app in ("project", "accounts", "blog") for path in (ROOT / app).rglob("*.py")} - TOOLS
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    return {name for node in nodes if (name := environment_name(node))} | {*ACCOUNT, *OPTIONAL_TOKENS}


def names_in_docs() -> set[str]:
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    table = page.partition("<!-- settings:")[2].partition("\nThe targets of `make`")[0]
    return set(re.findall(r"^\| `([A-Z0-9_]+)` \|", table, re.MULTILINE))


def names_in_example() -> set[str]:
    return set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_the_code_reads_what_the_example_lists():
    assert names_in_code() == names_in_example()


def test_the_docs_explain_what_the_example_lists():
    assert names_in_docs() == names_in_example()


def test_a_test_run_sets_every_setting_itself(local_worker):
    assert site_environment(local_worker).keys() == names_in_example()


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("run", "README.md"),
        ("test", "README.md"),
        ("docs", "README.md"),
        ("worker", "docs/reference/environment.md"),
        ("deploy", "docs/howto/deploy.md"),
    ],
)
def test_a_page_shows_every_target_that_people_call(target, page):
    assert f"make {target}" in (ROOT / page).read_text()
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
