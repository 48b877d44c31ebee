"""The subcommand `manage.py relay doctor`: check relay and databases."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections

from do_bridge import __version__, doctor, driver
from do_bridge.doctor.report import as_json, as_text, summary
from do_bridge.doctor.runner import LIMIT
from do_bridge.doctor.site import RelayAccess, RestAccess, Site
from do_bridge.driver.transport import is_on_this_machine

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"
OBJECTS, D1 = "do_bridge.backends.durable_object", "do_bridge.backends.d1"

help = "Checks what this package relies on, on the configured relay and databases. Leaves nothing behind."


def add_arguments(parser):
    """Add the subcommand's own options."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--list", action="store_true", help="List the probes without connecting to anything.")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PROBE",
        help="Run only this probe. Can be given several times.",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=LIMIT,
        help="Seconds that all probes together may take. Default: %(default)g.",
    )


def handle(command, **options):
    """Run the probes and print the report; raise CommandError if one fails."""
    probes = _chosen(options["only"])
    if options["list"]:
        for probe in probes:
            command.stdout.write(f"{probe.name} ({', '.join(probe.on)}): {probe.fact}")
        return
    site, report = configured_site(), doctor.Report()
    try:
        with _ended_by_signals(), _quiet_requests():
            doctor.examine(site, probes=probes, seconds=options["seconds"], report=report)
    except driver.Error as error:
        raise CommandError(site.scrub(str(error))) from None
    except SystemExit:
        left = report.left or ["Interrupted. The probes have left nothing behind."]
        command.stderr.write("\n".join(left))
        raise
    if options["json"]:
        command.stdout.write(as_json(site, report, __version__))
    else:
        _print(command, site, report, options["verbosity"])
    if not report.ok:
        raise CommandError(summary(report))


def configured_site():
    """Return the Site that DATABASES and the environment name.

    Raises CommandError if something is missing.
    """
    objects, d1 = _settings_of(OBJECTS), _settings_of(D1)
    if objects is None and d1 is None:
        raise CommandError(
            f"DATABASES has no alias with an engine of do_bridge. Set ENGINE of an alias to {D1!r} "
            f"or {OBJECTS!r}."
        )
    over_rest = d1 is not None and d1["OPTIONS"].get("transport", "relay") == "rest"
    relays = RelayAccess(d1["HOST"], d1["PASSWORD"], d1["NAME"]) if d1 and not over_rest else None
    try:
        return Site(
            objects=_objects(objects) if objects else None,
            d1=relays,
            rest=_rest(d1, over_rest) if d1 else None,
        )
    except driver.Error as error:
        raise CommandError(str(error)) from None


def _objects(settings):
    """Return access to the objects of an alias, in its jurisdiction."""
    jurisdiction = settings["OPTIONS"].get("jurisdiction") or ""
    return RelayAccess(settings["HOST"], settings["PASSWORD"], jurisdiction=jurisdiction)


def _settings_of(engine):
    """Return the settings of the first alias with this engine, `default` first.

    None if there is none.
    """
    # The plain dictionary, because a tenant's alias has the settings of its template.
    aliases = sorted(dict.items(connections.settings), key=lambda item: item[0] != "default")
    found = next((alias for alias, settings in aliases if settings.get("ENGINE") == engine), None)
    if found is None:
        return None
    wrapper = connections[found]
    required = {"HOST": "the relay's URL", "PASSWORD": "the relay's token"}
    if engine == D1:
        required["NAME"] = "the id of the D1 database"
        if wrapper.settings_dict["OPTIONS"].get("transport") == "rest":
            required |= {"HOST": "the base of the API", "PASSWORD": "the API's token"}
    try:
        wrapper.require_settings(**required)
        if engine == OBJECTS:
            wrapper.object_name()  # raises for an unknown jurisdiction
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    return wrapper.settings_dict


def _rest(d1, over_rest):
    """Return access to D1's REST API from the alias or the environment, or None."""
    account = d1["OPTIONS"].get("account_id") or os.environ.get("CLOUDFLARE_ACCOUNT_ID", "")
    admin = os.environ.get("CLOUDFLARE_API_TOKEN", "")
    if over_rest:
        account = d1["OPTIONS"].get("account_id") or ""
        return RestAccess(d1["HOST"], d1["NAME"], d1["PASSWORD"], account, admin)
    base = os.environ.get("D1_API_BASE", "") or CLOUDFLARE_API
    token = os.environ.get("CLOUDFLARE_D1_TOKEN", "")
    if is_on_this_machine(base):
        return RestAccess(base, d1["NAME"])
    if account and (token or admin):
        return RestAccess(base, d1["NAME"], token, account, admin)
    return None


def _chosen(names):
    known = {probe.name: probe for probe in doctor.PROBES}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise CommandError(
            f"The probe {unknown[0]!r} does not exist. `manage.py relay doctor --list` lists all probes."
        )
    return [probe for probe in doctor.PROBES if not names or probe.name in names]


def _print(command, site, report, verbosity):
    styles = {
        doctor.Status.FAILED: command.style.ERROR,
        doctor.Status.LOCAL_ONLY: command.style.WARNING,
        doctor.Status.SKIPPED: command.style.WARNING,
    }
    for status, line in as_text(site, report, __version__):
        if verbosity or status is doctor.Status.FAILED:
            command.stdout.write(styles.get(status, str)(line))


@contextmanager
def _ended_by_signals():
    """Let Ctrl-C and SIGTERM end the run through its clean-up.

    The exit codes are the usual ones.
    """

    def end(number, _frame):
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_requests():
    """Keep httpx from logging each request, because the report contains the results."""
    logger = logging.getLogger("httpx")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
