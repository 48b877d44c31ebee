"""What README, docs and PROTOCOL.md name is there: commands, their options, targets, files, links."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from django.core.management import find_commands, load_command_class
from django.core.management import get_commands as installed_commands

import do_bridge
from accounts import throttle
from do_bridge.driver.exceptions import _BY_KIND
from do_bridge.driver.places import D1_JURISDICTIONS, D1_LOCATIONS, JURISDICTIONS, LOCATIONS
from do_bridge.management.commands.relay import SUBCOMMANDS
from do_bridge.tenancy.conf import DEFAULTS
from tests.infra.pages import blocks_of, is_name_of_package

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "worker" / "PROTOCOL.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
# Made by a run, so that no checkout has them.
MADE = ("state/", ".venv/")
LOGGERS = {"do_bridge.queries", "do_bridge.d1", "do_bridge.transactions", "do_bridge.inspection"}
CODE = re.compile(r"```[a-z]*\n.*?```|`[^`\n]+`", re.DOTALL)


def code_of(page):
    """Every line that a page shows as code."""
    return [line.strip(" `") for text in CODE.findall(page.read_text()) for line in text.splitlines()]


def commands_of(page):
    """(command, arguments) of every `manage.py …` that the page shows."""
    for line in code_of(page):
        for part in line.split("manage.py ")[1:]:
            words = shlex.split(part.partition("  #")[0].replace("'", ""), comments=True)
            yield words[0], words[1:]


def get_commands():
    """The commands of the site, and those of the package's applications that the site does not use."""
    tasks = Path(do_bridge.__file__).parent / "contrib" / "tasks" / "management"
    return installed_commands() | dict.fromkeys(find_commands(tasks), "do_bridge.contrib.tasks")


def parser_of(command):
    """The command's own parser; a command that hands on to another one gets that one's options, too."""
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)


def options_of(command, arguments):
    parser = parser_of(command)
    known = set(parser._option_string_actions)
    if command == "relay" and arguments:
        (subcommands,) = [action for action in parser._actions if action.dest == "subcommand"]
        known |= set(subcommands.choices[arguments[0]]._option_string_actions)
    for word in arguments:
        if command in ("tenant_command", "all_tenants_command") and word in get_commands():
            known |= set(parser_of(word)._option_string_actions)
    return known


def slug(heading):
    """The anchor that a heading has on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_there_with_its_options(page):
    for command, arguments in commands_of(page):
        if command == "help":
            command, arguments = arguments[0], []
        assert command in get_commands(), command
        given = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert given <= options_of(command, arguments), command


def test_every_command_of_the_package_is_in_the_reference():
    text = (DOCS / "reference" / "commands.md").read_text()
    own = {name for name, app in get_commands().items() if str(app).startswith("do_bridge")}
    own = (own - {"relay"}) | {f"relay {name}" for name in SUBCOMMANDS}
    assert {name for name in own if f"`{name}" not in text} == set()


def test_commands_were_found():
    shown = {command for page in PAGES for command, _ in commands_of(page)}
    assert {"create_tenant", "tenant_dump", "all_tenants_command", "sync_members", "check", "relay"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_is_there_with_its_variables(page):
    makefile = (ROOT / "Makefile").read_text()
    for line in code_of(page):
        if not line.startswith("make "):
            continue
        _, target, *values = shlex.split(line.replace("…", ""), comments=True)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        for name in (value.partition("=")[0] for value in values):
            # `make` reads it, or the shell of a recipe.
            assert f"$({name})" in makefile or f"$${{{name}:-" in makefile, line


def file_of(module):
    """The file that `python -m` runs for a module or a package."""
    path = module.replace(".", "/")
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text())
    modules = re.findall(r"python -m ((?:\w+\.)+\w+)", page.read_text())
    named += [file_of(module) for module in modules]
    top = {place.name for place in ROOT.iterdir()}
    for name in named:
        if name.startswith(MADE) or name.partition("/")[0] not in top | {"src", "results"}:
            continue
        places = [ROOT / name, page.parent / name]
        assert any(place.exists() for place in places), name


def with_included(page):
    """The page's text and that of the page which it includes."""
    text = page.read_text()
    included = re.search(r"```\{include\} (\S+)", text)
    return text + (page.parent / included[1]).read_text() if included else text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", with_included(place), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_page_and_picture_is_linked_from_somewhere():
    texts = {page: page.read_text() for page in PAGES}
    for place in [*PAGES[1:], *sorted((DOCS / "screenshots").iterdir())]:
        assert any(place.name in text for page, text in texts.items() if page != place), place.name


def test_every_address_in_a_message_is_a_page_of_the_site():
    address = re.compile(r"do-bridge\.readthedocs\.io/en/latest/([\w/-]+)\.html(?:#([\w-]+))?")
    found = [
        match for path in (ROOT / "do_bridge").rglob("*.py") for match in address.findall(path.read_text())
    ]
    assert found
    for name, anchor in found:
        text = with_included(DOCS / f"{name}.md")
        assert not anchor or anchor in map(slug, re.findall(r"^#+ (.+)$", text, re.MULTILINE)), name


def test_every_page_is_in_the_sites_contents():
    contents = re.findall(r"^(\w+/[\w-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = [str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if page.is_relative_to(DOCS)]
    assert sorted(contents) == sorted(set(pages) - {"index"})


def test_the_protocols_kinds_of_errors_are_those_of_the_relay_and_of_the_driver():
    section = (ROOT / "worker" / "PROTOCOL.md").read_text().partition("## Errors\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    source = (ROOT / "worker" / "src" / "protocol.ts").read_text()
    union = re.search(r"export type ErrorKind =([^;]+);", source)[1]
    assert explained == set(re.findall(r'"(\w+)"', union))
    # SQLite's refusals have their classes by SQLite's own codes.
    assert explained - {"sql"} == set(_BY_KIND)


def test_the_names_of_places_are_on_one_page_and_are_those_of_the_driver():
    page = (DOCS / "howto" / "residency.md").read_text()
    for row, everywhere, of_d1 in (
        ("jurisdictions", JURISDICTIONS, D1_JURISDICTIONS),
        ("locations", LOCATIONS, D1_LOCATIONS),
    ):
        objects, d1 = re.search(rf"^\| {row} \| (.*) \| (.*) \|$", page, re.MULTILINE).groups()
        assert re.findall(r"`([a-z-]+)`", objects) == list(everywhere)
        assert set(re.findall(r"`([a-z-]+)`", d1)) == set(of_d1)
    lists = [one.name for one in PAGES if "`fedramp-high`" in one.read_text() or "`apac`" in one.read_text()]
    assert lists == ["residency.md"]


def test_the_limits_of_signing_in_are_those_that_the_threat_model_tells():
    text = " ".join((ROOT / "docs" / "explanation" / "threat-model.md").read_text().split())
    told = re.search(
        r"(\d+) failures of a name from an address; (\d+) failures of an address.* up to (\d+) min",
        text,
    )
    limits = (throttle.OF_NAME.failures, throttle.OF_ADDRESS.failures, throttle.OF_NAME.longest_delay // 60)
    assert tuple(map(int, told.groups())) == limits
    assert throttle.OF_ADDRESS.longest_delay == throttle.OF_NAME.longest_delay


def python_of(page):
    """The Python blocks of a page; one inside a list is moved to the left."""
    return [block.text for block in blocks_of(page.read_text()) if block.language == "python"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_piece_of_python_can_be_read(page):
    for text in python_of(page):
        ast.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_the_package_in_python_is_there(page):
    for text in python_of(page):
        names = re.findall(r'"(do_bridge(?:\.\w+)+)"', text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("do_bridge"):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            # Loggers have names of their own.
            assert name in LOGGERS or is_name_of_package(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_of_the_package_is_there(page):
    text = page.read_text()
    named = set(re.findall(r'DO_BRIDGE\["(\w+)"\]', text))
    for block in python_of(page):
        for given in re.findall(r"^DO_BRIDGE \|?= \{(.*?)^\}", block, re.MULTILINE | re.DOTALL):
            named |= set(re.findall(r'^    "(\w+)":', given, re.MULTILINE))
    assert named <= set(DEFAULTS)
