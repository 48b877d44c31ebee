"""Says in words what is missing where a database gives no answer; the words hold no secret and no address."""

from dataclasses import dataclass

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from do_bridge import driver
from do_bridge.tenancy.catch_up import SchemaMismatch


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that keeps the site from its databases: a word for machines and a sentence for people."""

    code: str
    text: str


NO_RELAY = Fault("relay_not_configured", "RELAY_URL is not set: the tenants' databases are behind the relay.")
INCOMPLETE = Fault("not_configured", "DATABASES is incomplete; the log says where.")
UNREACHABLE = Fault("unreachable", "A database can't be reached: is the Worker up, and RELAY_URL right?")
TIMEOUT = Fault("timeout", "A database did not answer in time.")
UNAUTHORIZED = Fault("unauthorized", "The token was refused: RELAY_TOKEN must be the Worker's secret.")
FORBIDDEN = Fault("forbidden", "RELAY_TOKEN_TENANTS is for objects alone, RELAY_TOKEN_DIRECTORY for D1.")
NO_SECRET = Fault("relay_not_ready", "The relay answers 503: the Worker's secret RELAY_TOKEN may not be set.")
UNKNOWN_DATABASE = Fault("unknown_database", "No D1 database has the id in CLOUDFLARE_DATABASE_ID.")
NOT_THE_RELAY = Fault("not_the_relay", "What answers at RELAY_URL is no relay of this version.")
RATE_LIMITED = Fault("rate_limited", "Cloudflare's API takes no more requests for now.")
OVERLOADED = Fault("overloaded", "A database has more to do than it can; try again in a moment.")
INTERRUPTED = Fault("interrupted", "A transaction was lost with its connection, and rolled back; try again.")
ANSWER_LOST = Fault("answer_lost", "A change was made, but its answer was lost: look before you repeat it.")
D1_BEHIND = Fault("not_migrated", "D1 has not been migrated: run `manage.py migrate --database default`.")
TENANT_BEHIND = Fault(
    "tenant_not_migrated",
    "The tenant's schema is not this code's: run `manage.py migrate --database tenant`, or deploy its code.",
)
BROKEN = Fault("failed", "A database refused the work; the log says why.")

_BY_KIND = {
    "unauthorized": UNAUTHORIZED,
    "forbidden": FORBIDDEN,
    "unknown_database": UNKNOWN_DATABASE,
    "rate_limited": RATE_LIMITED,
    "overloaded": OVERLOADED,
    "answer_lost": ANSWER_LOST,
}
# What the network, a deploy or the runtime does to work that is nobody's fault.
_PASSING = (None, "retry", "reset")


def fault_of(error):
    """Return the Fault that an exception, or what caused it, tells of; None for one that tells of none."""
    while error is not None:
        if fault := _fault_of_one(error):
            return fault
        error = error.__cause__
    return None


def _fault_of_one(error):
    if isinstance(error, SchemaMismatch):
        return TENANT_BEHIND
    if isinstance(error, ImproperlyConfigured) and str(error).startswith("DATABASES["):
        return NO_RELAY if "['HOST'] is empty" in str(error) else INCOMPLETE
    if not isinstance(error, driver.Error):
        return None
    if error.kind in _BY_KIND:
        return _BY_KIND[error.kind]
    if error.http_status == 503:
        # The relay's comes before anything was sent; of D1's own API it says nothing of the relay.
        return NO_SECRET if error.effect == "none" else UNREACHABLE
    if error.effect == "ended" and error.kind in _PASSING:
        return INTERRUPTED
    if error.transient:
        return UNREACHABLE
    if isinstance(error, driver.OperationalError) and error.effect == "unknown" and error.kind in _PASSING:
        return TIMEOUT
    if isinstance(error, driver.InterfaceError) and error.effect == "none":
        return NOT_THE_RELAY
    if isinstance(error, driver.OperationalError) and error.effect == "none" and error.kind is None:
        # It was not sent: no relay at that address, no TLS with it, or all sessions in use.
        return NOT_THE_RELAY if error.http_status else UNREACHABLE
    # A tenant's object compares its schema before it runs anything: a table that is missing is D1's.
    table = str(error).removeprefix("no such table: ").removeprefix("main.")
    if error.kind == "sql" and str(error).startswith("no such table: ") and table in _tables():
        return D1_BEHIND
    return None


def _tables():
    return {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
