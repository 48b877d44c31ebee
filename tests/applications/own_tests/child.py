"""Runs one application's own tests on one engine and writes what became of each.

Takes the application, the engine, the folder of its source archive, and the file to write.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from pathlib import Path
from typing import Any

import django
from django.conf import settings

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"  # in worker/wrangler.jsonc; 1 to 8 are for tests
# The folder with the tests, the module with their settings, and what is run, one run after the other.
SUITES = {
    "django-import-export": ("tests", "settings", [["core"]]),
    "django-reversion": ("tests", "test_project.settings", [["test_app"]]),
    "django-simple-history": (".", "runtests", [["simple_history.tests"], ["simple_history.registry_tests"]]),
}


class Recorder(unittest.TextTestResult):
    """Keeps what became of each test."""

    passed: set[str] = set()
    lost: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Record a pass."""
        super().addSuccess(test)
        self.passed.add(test.id())

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Record an error."""
        super().addError(test, err)
        self._lose(test, err[1])

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Record a failure."""
        super().addFailure(test, err)
        self._lose(test, err[1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """Record a failed part."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._lose(test, err[1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Record a skip."""
        super().addSkip(test, reason)
        self.lost[test.id()] = f"skipped: {reason}"

    def _lose(self, test: unittest.TestCase, error: BaseException) -> None:
        self.passed.discard(test.id())
        self.lost[test.id()] = f"{type(error).__name__}: {str(error)[:200]}"


def databases(engine: str, aliases: list[str]) -> dict[str, Any]:
    """Return DATABASES with one database of the engine for each alias."""
    if engine == "sqlite3":
        return {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in aliases}
    return {
        alias: {
            "ENGINE": "do_bridge.backends.d1",
            "NAME": DATABASE_ID.format(0),
            "HOST": os.environ["RELAY_URL"],
            "PASSWORD": os.environ["RELAY_TOKEN"],
            "OPTIONS": {"transport": "relay", "transactions": "optimistic"},
            "TEST": {"NAME": DATABASE_ID.format(number)},
        }
        for number, alias in enumerate(aliases, 1)
    }


def configure(module: str, engine: str) -> None:
    """Configure Django with the application's settings for its tests, on another engine."""
    found = __import__(module, fromlist=["*"])
    values = found.get_default_settings() if hasattr(found, "get_default_settings") else vars(found)
    values = {name: value for name, value in values.items() if name.isupper()}
    values["DATABASES"] = databases(engine, list(values["DATABASES"]))
    values["DO_BRIDGE"] = {"RESTORE_TEST_ROWS": True, "TEST_RELAY": "configured"}
    values["PASSWORD_HASHERS"] = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.configure(**values)
    django.setup()


def main() -> None:
    """Run the tests; a test that fails is written down and is no error of this program."""
    application, engine, archive, out = sys.argv[1:]
    folder, module, runs = SUITES[application]
    place = Path(archive) / folder
    sys.path[:0] = [str(place), archive]
    os.chdir(place)
    configure(module, engine)
    from do_bridge.testing import TestRunner

    class Runner(TestRunner):
        def get_resultclass(self) -> type[Recorder]:
            return Recorder

    for labels in runs:
        Runner(interactive=False, verbosity=0).run_tests(labels)
    Path(out).write_text(json.dumps({"passed": sorted(Recorder.passed), "lost": Recorder.lost}))


if __name__ == "__main__":
    main()
