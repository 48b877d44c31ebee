"""What pyproject.toml cannot say: README.md with absolute links, as PyPI needs them."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


def readme():
    """Return README.md with links and pictures that work anywhere."""
    source = PROJECT["urls"]["Source"]

    def absolute(match):
        picture, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        kind = "raw" if picture else "tree" if target.endswith("/") else "blob"
        return f"{picture}[{text}]({source}/{kind}/main/{target})"

    text = (HERE / "README.md").read_text()
    # Code is shown as it is, so every second part stays.
    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", text, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, part) for part in parts[::2]]
    return "".join(parts)


setup(long_description=readme(), long_description_content_type="text/markdown")
