"""The tutorial and the README work as they are written, with the package of this checkout."""

import os
import sys
from pathlib import Path

import pytest

from tests.infra.pages import ROOT, blocks_of
from tests.infra.tutorial import BLOCKS, COMMANDS, Tutorial

INSTALL, *_, TEST = COMMANDS
README = blocks_of((ROOT / "README.md").read_text())
INDEX = blocks_of((ROOT / "docs" / "index.md").read_text())
SNIPPETS = [block.text for block in [*README, *INDEX] if block.language == "python" and not block.file]


@pytest.mark.timeout(300)
def test_every_block_of_the_tutorial_does_what_the_page_says(tmp_path):
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
    }
    # The package is not installed, so pytest does not find its plugin by itself.
    replaced = {INSTALL: "", TEST: f"{TEST} -p do_bridge.pytest_plugin"}
    folder = tmp_path / "new"
    folder.mkdir()
    with Tutorial(folder, environment, replaced) as tutorial:
        tutorial.walk()
        shell, tests = tutorial.printed[-2:]
        for text in SNIPPETS:
            tutorial.run_snippet(text)
    assert shell.splitlines()[-3:] == ["['chess', 'rowing']", "1", "1"]
    assert "2 passed" in tests


def test_every_block_of_the_readme_is_one_that_is_run():
    commands = [command for block in README for command in block.commands if block.language == "sh"]
    targets = ["make run", "make test"]
    assert [command for command in commands if command not in COMMANDS] == targets
    for block in README:
        assert block.language in ("sh", "python")
        assert block.language == "sh" or block.text in SNIPPETS or block in BLOCKS
    assert len(SNIPPETS) == 2


def test_the_tutorial_has_at_most_eight_commands():
    assert len(COMMANDS) <= 8
    assert INSTALL.startswith("python -m pip install")
    assert TEST == "pytest"
