"""Runs in an application's own environment: migrates, fills and crawls its project on one engine.

`python play.py <package> <folder>`; APPLICATION_ENGINE, RELAY_URL and RELAY_TOKEN choose the database.
The folder gets `record.json` (pages, answers, seconds, round trips) and `rows.json` (dumpdata).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Play one application on one engine."""
    package, folder = sys.argv[1], Path(sys.argv[2])
    sys.path[:0] = [str(HERE), str(HERE.parent.parent)]
    os.environ.update(APPLICATION_FOLDER=str(folder), DJANGO_SETTINGS_MODULE=f"{package}.settings")
    from same import SAME

    SAME.install()
    import django

    django.setup()
    Record(folder).play(import_module(f"{package}.site"))


class Record:
    """What one application did on one engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[str, dict[str, float]] = {}
        self.pages: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}

    def play(self, site: Any) -> None:
        """Migrate, fill, crawl as visitor and as superuser, dump the rows; write what was seen."""
        from django.core.management import call_command

        with self.step("migrate"):
            call_command("migrate", verbosity=0, interactive=False)
        with self.step("fill"):
            self.answers = site.fill(superuser()) or {}
        with self.step("crawl"):
            self.crawl(site)
        # Sessions have keys drawn at random.
        with (
            self.step("dump"),
            (self.folder / "rows.json").open("w") as rows,
            contextlib.redirect_stdout(rows),
        ):
            call_command("dumpdata", exclude=["sessions.session", *getattr(site, "EXCLUDE", [])], indent=1)
        if hasattr(site, "after"):
            with self.step("after"):
                self.answers |= site.after()
        with self.step("check"):
            self.answers["the schema's keys"] = violations()
        written = {"steps": self.steps, "answers": self.answers, "pages": self.pages}
        written |= {"masks": getattr(site, "MASKS", []), "hidden": getattr(site, "HIDDEN", {})}
        written |= {"at_least": site.AT_LEAST, "broken": getattr(site, "BROKEN", "(?!)")}
        (self.folder / "record.json").write_text(json.dumps(written, indent=1, default=str))

    def crawl(self, site: Any) -> None:
        """Crawl the site twice: without a login, then as its superuser."""
        from crawl import as_dict, crawl
        from django.contrib.auth import get_user_model
        from django.test import Client

        for who, bounds in site.BOUNDS.items():
            client = Client(raise_request_exception=False)
            if who != "visitor":
                user = get_user_model()._default_manager.get(is_superuser=True)
                client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
            self.pages += map(as_dict, crawl(who, client, bounds))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step: seconds and round trips."""
        from same import SAME

        from do_bridge.driver import count_trips

        SAME.next_minute()
        started = time.monotonic()
        with count_trips() as trips:
            yield
        self.steps[name] = {"seconds": round(time.monotonic() - started, 1), "trips": trips.count}
        sys.stdout.write(f"  {name}: {self.steps[name]['seconds']:.0f} s, {trips.count} round trips\n")
        sys.stdout.flush()


def superuser() -> Any:
    """Make the superuser whose eyes the second crawl has."""
    from django.conf import settings
    from django.contrib.auth import get_user_model

    model = get_user_model()
    values = {"email": "root@example.com", "is_staff": True, "is_superuser": True, "is_active": True}
    if model.USERNAME_FIELD != "email":
        values[model.USERNAME_FIELD] = "root"
    return model._default_manager.create(password=settings.PASSWORD, **values)


def violations() -> list[str]:
    """The rows whose foreign keys point at nothing: none, after everything that the application did."""
    from django.db import connection

    errors = io.StringIO()
    try:
        connection.check_constraints()
    except Exception as error:  # noqa: BLE001 - whatever it is, the engines' answers are compared
        errors.write(str(error))
    return errors.getvalue().splitlines()


if __name__ == "__main__":
    main()
