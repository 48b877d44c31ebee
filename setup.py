"""Build the relay's bundle before the package; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).resolve().parent))

from do_bridge.relay import bundle  # noqa: E402


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


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
