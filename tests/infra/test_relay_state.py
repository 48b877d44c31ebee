"""The relay keeps nothing between requests: a module that remembers would share it among all tenants."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "worker" / "src"
# A name that may get another value, and a value that can be changed without one.
VARIABLE = re.compile(r"^(?:export )?(?:let|var)\b.*", re.MULTILINE)
CHANGEABLE = re.compile(
    r"^(?:export )?const \w+[^=\n]*= (?:new (?:Weak)?(?:Map|Set)\b|\[\]|\{\}).*", re.MULTILINE
)
STATIC = re.compile(r"^\s+(?:private |readonly )*static(?! readonly \w+ = [\w\"'])\b.*", re.MULTILINE)


@pytest.mark.parametrize("file", sorted(SOURCE.glob("*.ts")), ids=lambda file: file.name)
def test_no_module_of_the_relay_has_a_state_of_its_own(file):
    text = file.read_text()
    assert [found for pattern in (VARIABLE, CHANGEABLE, STATIC) for found in pattern.findall(text)] == []
