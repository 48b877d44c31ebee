"""The system checks of read replicas."""

import pytest
from django.conf import settings

from do_bridge.checks import replicas as checks_replicas
from do_bridge.checks import settings as ours
from tests.tenancy.test_checks import ids

D1 = "do_bridge.backends.d1"
OURS = checks_replicas.MIDDLEWARE
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
CACHE = "django.middleware.cache.UpdateCacheMiddleware"
TENANTS = "do_bridge.tenancy.middleware.TenantMiddleware"
HEALTH = "project.health.HealthMiddleware"


@pytest.fixture
def with_database(monkeypatch):
    """Checks see one D1 database, with replicas unless the options say otherwise."""

    def configure(options=None, **values):
        values = {"ENGINE": D1, "NAME": "one", "OPTIONS": {"replicas": True, **(options or {})}, **values}
        monkeypatch.setattr(settings, "DATABASES", {"default": values})
        monkeypatch.setattr(ours, "tenant_databases", lambda: None)

    return configure


def test_replicas_over_the_rest_api_are_refused(with_database):
    with_database({"transport": "rest"})
    assert ids(checks_replicas.check_replica_options()) == ["do_bridge.E031"]
    with_database({"transport": "relay"})
    assert ids(checks_replicas.check_replica_options()) == []


def test_a_primary_model_that_does_not_exist_is_refused(with_database, settings):
    with_database()
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"PRIMARY_MODELS": ("accounts.Nobody",)}
    [error] = checks_replicas.check_replica_options()
    assert error.id == "do_bridge.E032"
    assert "accounts.Nobody" in error.msg


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([HEALTH, OURS, CACHE, TENANTS, SESSIONS], []),
        ([HEALTH, SESSIONS], ["do_bridge.W031"]),
        ([SESSIONS, OURS], ["do_bridge.W032"]),
        ([CACHE, TENANTS, OURS, SESSIONS], ["do_bridge.W032"] * 2),
    ],
)
def test_the_middleware_must_be_outside_of_what_reads_d1(with_database, settings, order, expected):
    with_database()
    settings.MIDDLEWARE = order
    assert ids(checks_replicas.check_replica_middleware()) == expected


def test_atomic_requests_are_warned_about_because_they_use_no_replica(with_database):
    with_database(ATOMIC_REQUESTS=True)
    assert ids(checks_replicas.check_replicas_in_blocks()) == ["do_bridge.W033"]
    with_database(ATOMIC_REQUESTS=False)
    assert ids(checks_replicas.check_replicas_in_blocks()) == []


def test_without_replicas_nothing_is_checked(with_database, settings):
    with_database({"replicas": False, "transport": "rest"}, ATOMIC_REQUESTS=True)
    settings.MIDDLEWARE = []
    found = [
        *checks_replicas.check_replica_options(),
        *checks_replicas.check_replica_middleware(),
        *checks_replicas.check_replicas_in_blocks(),
    ]
    assert found == []
