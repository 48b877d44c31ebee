"""Runs loaddata and kills its own process before the last request: `killed_loaddata.py FIXTURE`.

The settings of the alias "default" come as JSON on standard input.
"""

import json
import os
import signal
import sys

from django.conf import settings


def main(fixture: str) -> None:
    """Load the fixture, and die when its rows are staged."""
    settings.configure(
        DATABASES={"default": json.load(sys.stdin)},
        USE_TZ=True,
        INSTALLED_APPS=["do_bridge", "depot"],
        DO_BRIDGE={"TENANT_MODEL": None},
    )
    import django

    django.setup()
    from django.core.management import call_command

    from do_bridge.backends.remote_sqlite.fixtures import staging

    staging.DIRECT = 1_000
    staging.Staging.last = lambda self: os.kill(os.getpid(), signal.SIGKILL)
    call_command("loaddata", fixture)


if __name__ == "__main__":
    main(sys.argv[1])
