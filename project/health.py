"""Serve /healthz (whether D1 and the objects answer) and /healthz/live (whether this process does)."""

import atexit
import logging
import threading
from dataclasses import dataclass, field
from time import monotonic

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponseNotAllowed, JsonResponse

from do_bridge import driver
from do_bridge.driver.relay import RelayTransport
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import tenant_model

from .faults import BROKEN, D1_BEHIND, NO_RELAY, TIMEOUT, Fault, fault_of
from .middleware import Middleware

logger = logging.getLogger(__name__)

READY, LIVE = "/healthz", "/healthz/live"
DEADLINE = 2.0  # seconds that a database has for its answer
SHARED = (
    1.0  # seconds for which one answer is shared, so that a flood of requests does not reach the databases
)
STALE = 10.0  # seconds for which it is shared while the next one is made
PROBE = "do:health"  # an object of its own without a table, so that reading from it writes nothing

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
    """Run all probes in parallel, never twice at once, and share the answer for a second.

    `probes` are functions by name that return a Fault or None, or raise; `deadline` is in seconds.
    """

    def __init__(self, probes, deadline=DEADLINE):
        self.probes = probes
        self.deadline = deadline
        self._changed = threading.Condition()
        self._report = None
        self._asking = False
        self._threads = {}

    def report(self):
        """Return a Report that is at most one second old, or ten while another request makes a new one."""
        with self._changed:
            if self._is_younger_than(STALE if self._asking else SHARED):
                return self._report
            if self._asking:
                self._changed.wait_for(lambda: not self._asking, timeout=self.deadline + 1)
                return self._report or self._silence()
            self._asking = True
        made = None
        try:
            made = self._ask()
        finally:
            with self._changed:
                self._note(made or self._silence())
                self._asking = False
                self._changed.notify_all()
        return made

    def _is_younger_than(self, seconds):
        return self._report is not None and monotonic() - self._report.made < seconds

    def _silence(self):
        return Report(dict.fromkeys(self.probes, TIMEOUT), dict.fromkeys(self.probes, 0))

    def _note(self, report):
        """Keep the report, and log what has changed since the last one."""
        before = self._report.faults if self._report else dict.fromkeys(self.probes)
        for name, fault in report.faults.items():
            if fault != before[name]:
                level = logging.WARNING if fault else logging.INFO
                logger.log(level, "health of %s: %s", name, fault.text if fault else "answers again")
        self._report = report

    def _ask(self):
        started = monotonic()
        found = dict.fromkeys(self.probes, (TIMEOUT, self.deadline))
        for name, probe in self.probes.items():
            # If a probe hangs in a system call, no second one starts.
            if not (name in self._threads and self._threads[name].is_alive()):
                arguments = (name, probe, started, found)
                self._threads[name] = threading.Thread(target=self._run, args=arguments, daemon=True)
                self._threads[name].start()
        for thread in self._threads.values():
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
    """Read the time from an object that belongs to no tenant, through the relay: one round trip."""
    values = connections.settings["tenant"]
    if not values["HOST"]:
        return NO_RELAY
    with driver.connect(_relay(values), PROBE, timeout=DEADLINE) as connection:
        connection.execute("SELECT 1").fetchone()
    return None


def _relay(values):
    """Return a transport of its own, which works even if all sessions of the site are in use."""
    key = (values["HOST"], values["PASSWORD"])
    with _transports_lock:
        if key not in _transports:
            _transports[key] = RelayTransport(*key, pool_size=2, connect_timeout=DEADLINE)
            atexit.register(_transports[key].close)
        return _transports[key]


health = Health({"directory": probe_directory, "tenants": probe_objects})


class HealthMiddleware(Middleware):
    """Answer before all other middleware: without session, tenant, known Host or HTTPS."""

    def before(self, request):
        return answer(request) if request.path_info in (READY, LIVE) else None

    async def before_async(self, request):
        if request.path_info in (READY, LIVE):
            return await sync_to_async(answer, thread_sensitive=False)(request)
        return None


def answer(request):
    """Return 200 or 503 and each database's answer; never from a cache, and without secrets."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    body, status = {"ok": True}, 200
    if request.path_info == READY:
        report = health.report()
        body, status = report.as_json(), 200 if report.ok else 503
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
