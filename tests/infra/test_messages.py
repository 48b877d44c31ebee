"""Messages use plain words, and the commands, options and settings that they name exist."""

import argparse
import re

import pytest
from django.core.management import get_commands, load_command_class

from do_bridge.tenancy.conf import DEFAULTS
from tests.messages import in_python, in_template, in_typescript, messages

MESSAGES = list(messages())

#: {what not to write: what to write}, from the glossary.
WORDS = {
    r"anew|besides|of late|all the same|but for\b|shall\b|so many\b|just now": "plain, modern words",
    r"meanwhile": "“since”, or what happened in between",
    r"not registered( as)?|unregistered": "“does not exist”, of a tenant",
    r"there is none|is no (?!longer)[a-z]+|are no [a-z]+ of": "“is not …” or “does not exist”",
    r"nobody|somebody|anybody|whoever|who has": "who: a process, a user, a program",
    r"(was|were) to be\b": "“can't be”",
    r"at head\b|to head\b|at (its|their) place": "“up to date”",
    r"scratch (object|alias)": "“template object”",
    r"the directory\b": "“the shared database” or “D1”",
    r"out of step": "“out of sync”",
    r"(?<!round )trips?\b": "“round trip”",
    r"piecewise|in pieces": "“in chunks”",
    r"goes on\b|go on (behind|with)": "“continues”",
    r"is there already|there already|was there": "“already exists”",
    r"point nowhere": "“refer to missing rows”",
    r"no longer stands|stands beside": "“exists”",
}

#: Texts that are not ours to word: the demo's posts.
NOT_OURS = ("blog/demo.py",)


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words.split("|")[0])
def test_no_message_uses_a_word_that_the_glossary_replaces(words):
    pattern = re.compile(rf"\b(?:{words})", re.IGNORECASE)
    found = [str(one) for one in MESSAGES if pattern.search(one.text) and not one.path.startswith(NOT_OURS)]
    assert not found, f"write {WORDS[words]}:\n" + "\n".join(found)


def _commands():
    """Yield (message, the command's name, the rest) of each command of manage.py in a message."""
    for one in MESSAGES:
        for found in re.finditer(r"manage\.py ([a-z_]+)([^`.;]*)", one.text):
            yield one, found[1], found[2]


def test_a_command_in_a_message_exists_and_has_the_options_named():
    known = get_commands()
    wrong = []
    for one, name, rest in _commands():
        app = known.get(name)
        if app is None:
            wrong += [str(one)] if name != "help" else []
            continue
        options = set(re.findall(r"--[a-z-]+", rest.partition(", then")[0]))
        command = load_command_class(app, name) if isinstance(app, str) else app
        parser = command.create_parser("manage.py", name)
        wrong += [str(one) for option in options if option not in _options_of(parser)]
    assert not wrong, "\n".join(wrong)


def _options_of(parser):
    """Return the names of a parser's options, those of its subcommands included."""
    names = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            names.update(*map(_options_of, action.choices.values()))
    return names


def test_a_quoted_command_can_be_typed_as_it_stands():
    names = "|".join(get_commands())
    bare = re.compile(rf"`(?:{names}) [^`]*`|Run (?:{names}) ?\b")
    found = [str(one) for one in MESSAGES if bare.search(one.text)]
    assert not found, "begin it with manage.py:\n" + "\n".join(found)


def test_a_setting_in_a_message_exists():
    named = [(one, name) for one in MESSAGES for name in re.findall(r"DO_BRIDGE\[['\"](\w+)", one.text)]
    assert named
    assert not [str(one) for one, name in named if name not in DEFAULTS]


def test_every_kind_of_message_is_listed():
    source = '''
"""Not a message of anybody."""
class Command:
    help = "Does a thing."
    def handle(self):
        """Nor is this one."""
        if self:
            raise CommandError(f"{self} can't " "do it.")
        logger.warning("It took %s seconds.", 3)
        self.stdout.write("All is done now." + self.text)
        return Error("It is wrong.", hint="Make it right.")
SQL = "SELECT one, two FROM three"
'''
    assert [(one.kind, one.text) for one in in_python("a.py", source)] == [
        ("help", "Does a thing."),
        ("raise", "{…} can't do it."),
        ("log", "It took %s seconds."),
        ("output", "All is done now.{…}"),
        ("check", "It is wrong."),
        ("check", "Make it right."),
    ]
    page = '<p title="A hint here">\n{% if a %}Not {{ found }}{% endif %}</p>{# a remark #}'
    assert [(one.line, one.text) for one in in_template("a.html", page)] == [(1, "A hint here"), (2, "Not …")]
    script = (
        "// a remark in words\nfail(`The token of ${name} is wrong`);\nrun('x', \"SELECT a FROM b WHERE c\");"
    )
    assert [(one.line, one.text) for one in in_typescript("a.ts", script)] == [
        (2, "The token of {…} is wrong")
    ]
