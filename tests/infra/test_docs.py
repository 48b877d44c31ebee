"""What README, docs and PROTOCOL.md name is there: commands, their options, targets, files, links."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from accounts import throttle
from do_bridge.driver.exceptions import _BY_KIND

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "worker" / "PROTOCOL.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# Made by a run, so that no checkout has them.
MADE = ("state/", ".venv/", "worker/.dev.vars", "worker/wrangler.deploy.jsonc")
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


def parser_of(command):
    """The command's own parser; a command that hands on to another one gets that one's options, too."""
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)


def options_of(command, arguments):
    parser = parser_of(command)
    known = set(parser._option_string_actions)
    if command == "relay":
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
        assert command in get_commands(), command
        given = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert given <= options_of(command, arguments), command


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text())
    modules = re.findall(r"python -m ((?:\w+\.)+\w+)", page.read_text())
    named += [f"{module.replace('.', '/')}.py" for module in modules]
    top = {place.name for place in ROOT.iterdir()}
    for name in named:
        if name.startswith(MADE) or name.partition("/")[0] not in top | {"src", "results"}:
            continue
        places = [ROOT / name, page.parent / name]
        assert any(place.exists() for place in places), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_page_and_picture_is_linked_from_somewhere():
    texts = {page: page.read_text() for page in PAGES}
    for place in [*PAGES[1:], *sorted((ROOT / "docs" / "screenshots").iterdir())]:
        assert any(place.name in text for page, text in texts.items() if page != place), place.name


def test_the_protocols_kinds_of_errors_are_those_of_the_relay_and_of_the_driver():
    section = (ROOT / "worker" / "PROTOCOL.md").read_text().partition("## Errors\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    source = (ROOT / "worker" / "src" / "protocol.ts").read_text()
    union = re.search(r"export type ErrorKind =([^;]+);", source)[1]
    assert explained == set(re.findall(r'"(\w+)"', union))
    # SQLite's refusals have their classes by SQLite's own codes.
    assert explained - {"sql"} == set(_BY_KIND)


def test_the_limits_of_signing_in_are_those_that_the_threat_model_tells():
    text = " ".join((ROOT / "docs" / "threat-model.md").read_text().split())
    told = re.search(
        r"(\d+) failures of a name from an address; (\d+) failures of an address.* up to (\d+) min",
        text,
    )
    limits = (throttle.OF_NAME.failures, throttle.OF_ADDRESS.failures, throttle.OF_NAME.longest_delay // 60)
    assert tuple(map(int, told.groups())) == limits
    assert throttle.OF_ADDRESS.longest_delay == throttle.OF_NAME.longest_delay
