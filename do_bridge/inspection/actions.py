"""The actions on the list of databases."""

import logging
import tempfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from django.core.management import CommandError, call_command, get_commands
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from do_bridge import driver
from do_bridge.models import TenantState
from do_bridge.tenancy.conf import conf

from .access import CHANGE, RUN_SQL
from .reading import queries
from .reading.differences import differences, history
from .reading.facts import short

logger = logging.getLogger("do_bridge.inspection")

MOST = 20  # databases in one request; the commands work on all of them
CHECK_SECONDS = 20.0
_FAILURES = (CommandError, DatabaseError, InterfaceError, driver.Error, SystemExit, OSError)


@dataclass(frozen=True)
class Action:
    """An action: its name, label, permission and question."""

    name: str
    label: str
    permission: str
    question: str
    command: str = ""
    for_directory: bool = True

    @property
    def is_available(self):
        """Whether the command that it runs is installed."""
        return not self.command or self.command in get_commands()


ACTIONS = {
    action.name: action
    for action in (
        Action("migrate", "Migrate", CHANGE, "Apply the missing migrations to", "migrate"),
        Action("check", "Check", CHANGE, "Look for damage and differences from the models in"),
        Action("sync", "Sync members", CHANGE, "Write the copies of members again in", "sync_members", False),
        Action("dump", "Dump", RUN_SQL, "Download as a SQLite file:", "tenant_dump", False),
    )
}


def available(user):
    """Return the Actions that are installed and that `user` may take."""
    return [action for action in ACTIONS.values() if action.is_available and user.has_perm(action.permission)]


def take(action, database):
    """Take an action on one `Inspected` database.

    Returns (whether it succeeded, a sentence).
    """
    try:
        return _RUN[action.name](database)
    except _FAILURES as error:
        reason = short(error) if not isinstance(error, SystemExit) else f"the command ended with {error.code}"
        return False, f"{database.label}: {action.label.lower()} failed: {reason}"
    except Exception as error:
        # A migration's own code can raise anything, and the other selected databases still have their turn.
        logger.exception("%s of %s failed", action.label, database.alias)
        return (
            False,
            f"{database.label}: {action.label.lower()} failed: {type(error).__name__}: {short(error)}",
        )


def _migrate(database):
    said = StringIO()
    call_command("migrate", database=database.alias, interactive=False, verbosity=1, stdout=said, stderr=said)
    count = sum(line.rstrip().endswith(" OK") for line in said.getvalue().splitlines())
    what = f"{count} migration{'s' * (count != 1)} applied" if count else "no migrations to apply"
    return True, f"{database.label}: {what}."


def _sync(database):
    said = StringIO()
    try:
        call_command("sync_members", database.slug, stdout=said, stderr=said)
    except CommandError as error:
        # The command writes the tenant, and then the reason.
        raise CommandError(f"{said.getvalue().strip()} {error}".strip()) from error
    return True, f"{database.label}: the copies of its members are up to date."


def _check(database):
    with database.connect(CHECK_SECONDS) as connection:
        found = queries.tables(connection)
        _, applied, _ = queries.look(
            connection, ["django_migrations"] if "django_migrations" in found else []
        )
        damage = queries.sound(connection)
    known = history(applied)
    differ = differences(database.alias, found)
    if database.slug:
        _note_checked(database.slug)
    problems = [*damage[:3], *(f"{item.table}: {item.what} {item.text}" for item in differ[:3])]
    if known.state != "head":
        problems.insert(0, f"the schema is {known.text}")
    if problems:
        more = len(damage) + len(differ) - 6
        also = f" And {more} more." if more > 0 else ""
        return False, f"{database.label}: {'; '.join(problems)}.{also}"
    return True, f"{database.label}: no damage, up to date, and matches the models."


def _note_checked(slug):
    """Record when the tenant was checked.

    The findings are shown even if D1 cannot record it.
    """
    states = TenantState._base_manager.using(conf("DIRECTORY_ALIAS"))
    try:
        states.filter(slug=slug).update(checked=timezone.now())
    except (DatabaseError, InterfaceError):
        logger.warning("The time of the check of tenant %s could not be recorded", slug, exc_info=True)


def dump(database):
    """Return an open, already unlinked file with the tenant's SQLite database.

    Raises CommandError.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{database.slug}.sqlite3"
        # Strict: the command's warning would not reach the user who downloads rows of several moments.
        call_command("tenant_dump", database.slug, str(path), strict=True, verbosity=0, stdout=StringIO())
        return path.open("rb")


_RUN = {"migrate": _migrate, "check": _check, "sync": _sync}
