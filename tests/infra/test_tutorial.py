"""The tutorial works as it is written, with the package of this checkout."""

import os
import sys
from pathlib import Path

import pytest

from tests.infra.pages import ROOT
from tests.infra.tutorial import COMMANDS, Tutorial

INSTALL, *_, TEST = COMMANDS


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
    assert shell.splitlines()[-3:] == ["['chess', 'rowing']", "1", "1"]
    assert "2 passed" in tests


def test_the_tutorial_has_at_most_eight_commands():
    assert len(COMMANDS) <= 8
    assert INSTALL.startswith("python -m pip install")
    assert TEST == "pytest"
