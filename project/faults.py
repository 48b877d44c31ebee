"""Describe why a database gives no answer, without a secret or an address."""

from dataclasses import dataclass

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from do_bridge import driver
from do_bridge.exceptions import DirectoryNotReady, LeaseError, LedgerMissing, SchemaMismatch


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason why the site cannot use its databases.

    It has a code for machines and a sentence for people.
    """

    code: str
    text: str


NO_RELAY = Fault(
    "relay_not_configured",
    "RELAY_URL is not set. Set it to the address of the relay, through which the tenants' databases "
    "are reached.",
)
INCOMPLETE = Fault("not_configured", "DATABASES is incomplete. The log names the missing setting.")
UNREACHABLE = Fault(
    "unreachable",
    "A database cannot be reached. Check that the Worker runs, and that RELAY_URL is its address.",
)
TIMEOUT = Fault("timeout", "A database did not answer in time. Try again in a moment.")
UNAUTHORIZED = Fault(
    "unauthorized", "The token was refused. Set RELAY_TOKEN to the value of the Worker's secret."
)
FORBIDDEN = Fault(
    "forbidden",
    "The token is for another kind of database. RELAY_TOKEN_TENANTS opens only tenants' objects, "
    "RELAY_TOKEN_DIRECTORY only D1.",
)
OTHER_PLACE = Fault(
    "other_jurisdiction",
    "The relay does not serve the jurisdiction of this database. Set RELAY_JURISDICTION as the relay was "
    "deployed, and leave it empty with a local relay.",
)
NO_SECRET = Fault(
    "relay_not_ready", "The relay answers 503. Check that the Worker has its secret RELAY_TOKEN."
)
UNKNOWN_DATABASE = Fault(
    "unknown_database",
    "No D1 database has the id in CLOUDFLARE_DATABASE_ID. Correct the id, or add it to D1_DATABASES of "
    "the Worker.",
)
NOT_THE_RELAY = Fault(
    "not_the_relay",
    "The server at RELAY_URL is not a relay of this version. Deploy the Worker again, or correct RELAY_URL.",
)
RATE_LIMITED = Fault(
    "rate_limited",
    "Cloudflare's API accepts no more requests for now. Set D1_TRANSPORT to relay for a site with visitors.",
)
OVERLOADED = Fault("overloaded", "A database is overloaded. Try again in a moment.")
INTERRUPTED = Fault(
    "interrupted", "A transaction was lost with its connection, and was rolled back. Try again."
)
ANSWER_LOST = Fault(
    "answer_lost", "A change was made, but its answer was lost. Read the data before you repeat it."
)
D1_BEHIND = Fault("not_migrated", "D1 has not been migrated. Run `manage.py migrate --database default`.")
BROKEN = Fault("failed", "A database reported an error. The log contains the reason.")

_BY_KIND = {
    "unauthorized": UNAUTHORIZED,
    "forbidden": FORBIDDEN,
    "unknown_database": UNKNOWN_DATABASE,
    "rate_limited": RATE_LIMITED,
    "overloaded": OVERLOADED,
    "answer_lost": ANSWER_LOST,
}
# Kinds of errors that come from the network, a deploy or the runtime, and pass.
_PASSING = (None, "retry", "reset")


def fault_of(error):
    """Return the Fault behind an exception or one of its causes.

    None if there is no known one.
    """
    while error is not None:
        if fault := _fault_of_one(error):
            return fault
        error = error.__cause__
    return None


def _fault_of_one(error):
    if isinstance(error, SchemaMismatch):
        return Fault("tenant_not_ready", f"{error.reason} {error.remedy}")
    if isinstance(error, LedgerMissing | DirectoryNotReady):
        return D1_BEHIND
    if isinstance(error, LeaseError):
        return Fault("tenant_busy", str(error))
    if isinstance(error, ImproperlyConfigured) and str(error).startswith("DATABASES["):
        return NO_RELAY if "['HOST'] is empty" in str(error) else INCOMPLETE
    if not isinstance(error, driver.Error):
        return None
    if error.kind in ("forbidden", "unsupported") and "jurisdiction" in str(error):
        return OTHER_PLACE
    if error.kind in _BY_KIND:
        return _BY_KIND[error.kind]
    if error.http_status == 503:
        # The relay answers 503 before anything was sent; from D1's own API it has nothing to do with the
        # relay.
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
        # Nothing was sent: no relay at that address, no TLS with it, or all sessions in use.
        return NOT_THE_RELAY if error.http_status else UNREACHABLE
    # A tenant's object compares its schema before it runs anything, so a missing table is D1's.
    table = str(error).removeprefix("no such table: ").removeprefix("main.")
    if error.kind == "sql" and str(error).startswith("no such table: ") and table in _tables():
        return D1_BEHIND
    return None


def _tables():
    return {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
