"""The pytest plugin: a local relay for the session, and tenants for tests.

It needs pytest-django. Pytest loads this module in every project where the package is installed, so it
imports nothing but pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

_RELAY = pytest.StashKey[Any]()
_STACK = pytest.StashKey[ExitStack]()
# Fixtures of pytest-django: the first makes the test databases, the second begins and undoes a test.
_DATABASES, _ONE_TEST = "django_db_setup", "_django_db_helper"


def pytest_configure(config: pytest.Config) -> None:
    """Watch pytest-django's fixtures, if there are any."""
    if config.pluginmanager.has_plugin("django"):
        config.pluginmanager.register(_Watch(config), "do_bridge_watch")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the relay, whatever ended the run."""
    if _STACK in config.stash:
        config.stash[_STACK].close()


def _start_relay(config: pytest.Config) -> Any:
    """Start the session's relay, once.

    Returns the LocalRelay, or None if tests use the configured one.
    """
    if _RELAY not in config.stash:
        from do_bridge.relay import RelayError
        from do_bridge.testing.relay import local_relay, share_out

        stack = config.stash[_STACK] = ExitStack()
        try:
            relay = config.stash[_RELAY] = stack.enter_context(local_relay())
        except RelayError as error:
            # Once, and not for each test.
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        if relay is None:
            share_out(getattr(config, "workerinput", {}).get("workerid", ""))
    return config.stash[_RELAY]


def _is_used() -> bool:
    """Return whether the project under test has this package in its settings.

    Nothing of the package is imported.
    """
    from django.conf import settings

    if not settings.configured:
        return False
    # Not .values(): a dictionary of tenants' aliases would look for live ones.
    engines = [str(database.get("ENGINE")) for database in dict.values(settings.DATABASES)]
    return "do_bridge" in settings.INSTALLED_APPS or any(name.startswith("do_bridge.") for name in engines)


class _Watch:
    """The hooks of a session with pytest-django."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        """Start the relay before the test databases are made.

        Let `db` restore rows if the setting is on.
        """
        if fixturedef.argname == _DATABASES and _is_used():
            from do_bridge.testing.pytest_rows import require_fixture

            require_fixture(_ONE_TEST)
            _start_relay(self.config)
        elif fixturedef.argname == _ONE_TEST and _is_used():
            from do_bridge.testing.pytest_rows import restoring_cases

            with restoring_cases():
                return (yield)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self) -> Any:
        """Let test cases restore rows if the setting is on."""
        node = yield
        if isinstance(node, pytest.Class) and "django.test" in sys.modules and _is_used():
            from do_bridge.testing.pytest_rows import restore_class

            restore_class(node)
        return node


@pytest.fixture(scope="session")
def local_relay(pytestconfig: pytest.Config, django_test_environment: None) -> Any:
    """The session's LocalRelay, or None if tests use the configured one.

    It has `url`, `token` and `database_ids`.
    """
    return _start_relay(pytestconfig)


@pytest.fixture
def make_tenant(db: None) -> Iterator[Callable[..., Any]]:
    """Make tenants for one test: `make_tenant()`, `make_tenant("acme", plan="free")`.

    It returns the tenant's row.
    """
    from do_bridge.testing import make_test_tenant

    with ExitStack() as stack:
        yield lambda slug=None, **fields: stack.enter_context(make_test_tenant(slug, **fields))


@pytest.fixture
def tenant_fields() -> dict[str, Any]:
    """The field values for the row of `tenant`; override it if the model needs some."""
    return {}


@pytest.fixture
def tenant(make_tenant: Callable[..., Any], tenant_fields: dict[str, Any]) -> Iterator[Any]:
    """The row of a new tenant, which is current while the test runs."""
    from do_bridge.tenancy import tenant_context

    row = make_tenant(**tenant_fields)
    with tenant_context(row):
        yield row


@pytest.fixture
def tenant_client(tenant: Any) -> Any:
    """A test client whose requests go to `tenant`."""
    from do_bridge.testing import TenantClient

    return TenantClient(tenant.slug)
