"""Runs a management command in a process of its own, on the test run's databases, and may kill it on the way.

Its orders are JSON on standard input: `arguments` of manage.py; `directory` and `objects`, the names of the
test databases; `migrations`, (folder, package) of the blog's newer migrations or null; `kill`, null or
{"to": the beginning of a database's name, "text": what stands in the request, "at": which of those, from 1,
"sent": whether it goes out}; `relay`, [url, token] of another relay for tenants; `backups`, the folder of
STORAGES["backups"] or null.
"""

import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def main(orders):
    sys.path.insert(0, str(ROOT))
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    sys.argv[:] = ["manage.py", *orders["arguments"]]
    for alias, name in (("default", orders["directory"]), ("tenant", orders["objects"])):
        # To this process they are the databases themselves, not those of tests.
        settings.DATABASES[alias]["NAME"] = name
        settings.DATABASES[alias]["TEST"] = {}
    if orders.get("relay"):
        settings.DATABASES["tenant"] |= dict(zip(("HOST", "PASSWORD"), orders["relay"], strict=True))
    if orders["migrations"]:
        folder, package = orders["migrations"]
        sys.path.insert(0, folder)
        settings.MIGRATION_MODULES = {"blog": package}
        import tests.tenancy.newer_code  # noqa: F401 - the migration looks for it among the loaded modules
    if orders["backups"]:
        folder = {"location": orders["backups"]}
        storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": folder}
        settings.STORAGES = {**settings.STORAGES, "backups": storage}
    django.setup()
    if orders["kill"]:
        # What it leaves is soon anybody's.
        settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 1}
        kill_at(**orders["kill"])
    execute_from_command_line(["manage.py", *orders["arguments"]])


def kill_at(to, text, at, sent):
    """Kill this process at its request number `at` with `text` to databases whose name begins with `to`."""
    from do_bridge.driver.transports.relay_session import RelaySession

    send, seen = RelaySession.request, []

    def request(self, message, deadline):
        if message.get("db", "").startswith(to) and text in json.dumps(message):
            seen.append(message)
            if len(seen) >= at:
                if sent:
                    send(self, message, deadline)
                os.kill(os.getpid(), signal.SIGKILL)
        return send(self, message, deadline)

    RelaySession.request = request


if __name__ == "__main__":
    main(json.load(sys.stdin))
