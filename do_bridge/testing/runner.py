"""The runner for `manage.py test`.

It starts a relay of its own, and applies the setting that restores rows.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from django.core.management import CommandError
from django.test.runner import DiscoverRunner

from do_bridge.relay import RelayError

from .relay import local_relay
from .rows import restore_in_suite


class TestRunner(DiscoverRunner):
    """Django's test runner on a local relay.

    It starts the relay before the test databases are made. Set
    `TEST_RUNNER = "do_bridge.testing.TestRunner"` in the settings. With `--parallel` all processes share the
    relay. `DO_BRIDGE["TEST_RELAY"] = "configured"` uses the relay of DATABASES instead.
    """

    __test__ = False  # pytest would take it for tests

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._relay = ExitStack()

    def build_suite(self, *args: Any, **kwargs: Any) -> Any:
        """Load the tests; mix RestoreRows in if the setting is on."""
        suite = super().build_suite(*args, **kwargs)
        restore_in_suite(suite)
        return suite

    def setup_databases(self, **kwargs: Any) -> Any:
        """Start the relay, then make the test databases."""
        # Also for a run without a database: Django reads the test name of D1's alias.
        try:
            self._relay.enter_context(local_relay(say=self.log))
        except RelayError as error:
            raise CommandError(str(error)) from error
        try:
            return super().setup_databases(**kwargs)
        except BaseException:
            self._relay.close()
            raise

    def teardown_databases(self, old_config: Any, **kwargs: Any) -> None:
        """Empty the test databases, then end the relay."""
        try:
            super().teardown_databases(old_config, **kwargs)
        finally:
            self._relay.close()
