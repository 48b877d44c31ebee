"""Which words a failure gets on the page, in the log and in /healthz; and which failure gets none."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, OperationalError

from do_bridge import driver
from do_bridge.driver.exceptions import error_from
from do_bridge.exceptions import DirectoryNotReady, Held, LedgerMissing, TenantBehind
from project.faults import fault_of


def caused(error):
    """Django's exception around the driver's."""
    outer = OperationalError("outer")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (driver.OperationalError("lost", transient=True, effect="unknown"), "unreachable"),
        (driver.OperationalError("silent", effect="unknown"), "timeout"),
        (driver.OperationalError("no", kind="unauthorized", http_status=401), "unauthorized"),
        (driver.OperationalError("no", http_status=503, effect="none"), "relay_not_ready"),
        (driver.InternalError("D1's API", http_status=503, effect="unknown"), "unreachable"),
        (driver.OperationalError("no", kind="rate_limited", transient=True), "rate_limited"),
        (driver.InterfaceError("what answers there", effect="none"), "not_the_relay"),
        (driver.OperationalError("the jurisdiction eu alone", kind="forbidden"), "other_jurisdiction"),
        (driver.OperationalError("the token is for objects", kind="forbidden"), "forbidden"),
        (
            driver.NotSupportedError("the jurisdiction eu is not here", kind="unsupported"),
            "other_jurisdiction",
        ),
        (driver.OperationalError("no relay there", http_status=404, effect="none"), "not_the_relay"),
        (driver.OperationalError("all sessions are in use", effect="none"), "unreachable"),
        (driver.OperationalError("lost with its relay session", effect="ended"), "interrupted"),
        (error_from("new code", kind="reset", effect="ended"), "interrupted"),
        (driver.OperationalError("who knows", kind="retry", effect="unknown"), "timeout"),
        (error_from("too much", kind="overloaded", effect="none"), "overloaded"),
        (error_from("", kind="answer_lost", effect="done"), "answer_lost"),
        (driver.DataError("too exact; the writes have been carried out", effect="done"), None),
        (error_from("no", kind="forbidden"), "forbidden"),
        (error_from("no", kind="unknown_database"), "unknown_database"),
        (error_from("no such table: accounts_tenant: SQLITE_ERROR", kind="sql"), "not_migrated"),
        (error_from("no such table: anybodys: SQLITE_ERROR", kind="sql"), None),
        (error_from("UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT", kind="sql"), None),
        (error_from("too long", kind="lease_expired"), None),
    ],
)
def test_an_error_of_the_driver_is_named_through_djangos(error, code):
    for seen in (error, caused(error)):
        fault = fault_of(seen)
        assert (fault.code if fault else None) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TenantBehind("behind"), "tenant_not_ready"),
        (Held("busy"), "tenant_busy"),
        (LedgerMissing("no ledger"), "not_migrated"),
        (DirectoryNotReady("no content types"), "not_migrated"),
        (
            ImproperlyConfigured("DATABASES['tenant/a']['HOST'] is empty: give it"),
            "relay_not_configured",
        ),
        (ImproperlyConfigured("DATABASES['default']['PASSWORD'] is empty"), "not_configured"),
        (ImproperlyConfigured("something else"), None),
        (IntegrityError("a row"), None),
        (ZeroDivisionError(), None),
        (None, None),
    ],
)
def test_an_error_of_django_is_named_where_it_tells_what_is_missing(error, code):
    fault = fault_of(error)
    assert (fault.code if fault else None) == code
