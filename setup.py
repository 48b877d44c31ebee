"""What pyproject.toml cannot say: the relay's bundle, and README.md with links that work on PyPI."""

import re
import sys
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from do_bridge.relay import bundle  # noqa: E402

PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


class BuildPy(build_py):
    """Includes the relay's bundle, which a checkout builds with Node and an sdist contains."""

    def run(self):
        bundle.ensure()
        super().run()


class Sdist(sdist):
    """Includes the relay's bundle, so that a build from the sdist needs no Node."""

    def run(self):
        bundle.ensure()
        super().run()


def readme():
    """Return README.md with links and pictures that work anywhere."""
    source = PROJECT["urls"]["Source"]

    def absolute(match):
        picture, text, target = match.groups()
        if target is None or re.match(r"[a-z]+:|#", target):
            return match[0]
        kind = "raw" if picture else "tree" if target.endswith("/") else "blob"
        return f"{picture}[{text}]({source}/{kind}/main/{target})"

    # Code is matched, too, so that nothing in it is taken for a link.
    link = r"(!?)\[((?:`[^`\n]*`|[^\]`])*)\]\(([^)\s]+)\)"
    pattern = rf"^```.*?^```|{link}|`[^`\n]+`"
    return re.sub(pattern, absolute, (HERE / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)


setup(
    cmdclass={"build_py": BuildPy, "sdist": Sdist},
    long_description=readme(),
    long_description_content_type="text/markdown",
)
