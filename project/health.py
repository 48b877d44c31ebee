"""The health pages /healthz (databases) and /healthz/live (this process)."""

import atexit
import logging
import threading
from dataclasses import dataclass, field
from time import monotonic

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponseNotAllowed, JsonResponse

from do_bridge import driver
from do_bridge.driver.places import join_place
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import tenant_model

from .faults import BROKEN, D1_BEHIND, NO_RELAY, TIMEOUT, Fault, fault_of
from .middleware import Middleware

logger = logging.getLogger(__name__)

READY, LIVE = "/healthz", "/healthz/live"
DEADLINE = 2.0  # seconds that a database has for its answer
SHARED = 1.0  # seconds for which an answer is shared: a flood of requests must not reach the databases
PROBE = "health"  # an object of its own without a table, so that reading from it writes nothing

_transports = {}
_transports_lock = threading.Lock()


@dataclass
class Report:
    """The findings and their time; `faults` has None for a database that answers."""

    faults: dict[str, Fault | None]
    milliseconds: dict[str, int]
    made: float = field(default_factory=monotonic)

    @property
    def ok(self):
        """Whether everything answered."""
        return not any(self.faults.values())

    def as_json(self):
        """Return the answer's body."""
        checks = {}
        for name, fault in self.faults.items():
            checks[name] = {"ok": fault is None, "milliseconds": self.milliseconds[name]}
            if fault:
                checks[name] |= {"error": fault.code, "message": fault.text}
        return {"ok": self.ok, "checks": checks}


class Health:
    """The health probes, which run side by side and share their answer for a second.

    They never run twice at once. `probes` are functions by name that return a Fault or None, or raise;
    `deadline` is in seconds.
    """

    def __init__(self, probes, deadline=DEADLINE):
        self.probes = probes
        self.deadline = deadline
        self._lock = threading.Lock()
        self._report = None

    def report(self):
        """Return a Report that is at most one second old."""
        with self._lock:
            if self._report is None or monotonic() - self._report.made >= SHARED:
                before, self._report = self._report, self._ask()
                self._log_changes(before.faults if before else dict.fromkeys(self.probes))
            return self._report

    def _log_changes(self, before):
        for name, fault in self._report.faults.items():
            if fault != before[name]:
                level = logging.WARNING if fault else logging.INFO
                logger.log(level, "health of %s: %s", name, fault.text if fault else "answers again")

    def _ask(self):
        started = monotonic()
        found = dict.fromkeys(self.probes, (TIMEOUT, self.deadline))
        threads = [
            threading.Thread(target=self._run, args=(name, probe, started, found), daemon=True)
            for name, probe in self.probes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            # The driver keeps the deadline itself; the rest is for its clean-up.
            thread.join(max(0.0, started + self.deadline + 0.2 - monotonic()))
        found = dict(found)
        faults = {name: fault for name, (fault, _) in found.items()}
        return Report(faults, {name: round(seconds * 1000) for name, (_, seconds) in found.items()})

    @staticmethod
    def _run(name, probe, started, found):
        try:
            fault = probe()
        except Exception as error:
            fault = fault_of(error) or BROKEN
            logger.debug("The health probe of %s failed: %s", name, error)
        found[name] = (fault, monotonic() - started)


def probe_directory():
    """Check that D1 holds the tenants' table: one statement, one round trip."""
    values = connections.settings[conf("DIRECTORY_ALIAS")]
    if values["OPTIONS"].get("transport") == "rest":
        transport = driver.rest(values["HOST"], values["PASSWORD"], values["OPTIONS"].get("account_id"))
    else:
        transport = _relay(values)
    with driver.connect(transport, f"d1:{values['NAME']}", timeout=DEADLINE) as connection:
        table = tenant_model()._meta.db_table
        found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = %s", [table]).fetchone()
    return None if found == (1,) else D1_BEHIND


def probe_objects():
    """Read the time from an object that belongs to no tenant.

    Takes one round trip through the relay.
    """
    values = connections.settings["tenant"]
    if not values["HOST"]:
        return NO_RELAY
    probe = join_place(f"do:{PROBE}", values["OPTIONS"].get("jurisdiction"))
    with driver.connect(_relay(values), probe, timeout=DEADLINE) as connection:
        connection.execute("SELECT 1").fetchone()
    return None


def _relay(values):
    """Return a separate transport.

    It works even if all sessions of the site are in use.
    """
    key = (values["HOST"], values["PASSWORD"])
    with _transports_lock:
        if key not in _transports:
            _transports[key] = RelayTransport(*key, pool_size=2, connect_timeout=DEADLINE)
            atexit.register(_transports[key].close)
        return _transports[key]


health = Health({"directory": probe_directory, "tenants": probe_objects})


class HealthMiddleware(Middleware):
    """Answer before all other middleware.

    The pages need no session, tenant, known Host or HTTPS.
    """

    def before(self, request):
        return answer(request) if request.path_info in (READY, LIVE) else None

    async def before_async(self, request):
        if request.path_info in (READY, LIVE):
            return await sync_to_async(answer, thread_sensitive=False)(request)
        return None


def answer(request):
    """Return 200 or 503 and each database's answer.

    Never from a cache, and without secrets.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    body, status = {"ok": True}, 200
    if request.path_info == READY:
        report = health.report()
        body, status = report.as_json(), 200 if report.ok else 503
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
