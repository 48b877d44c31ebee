"""One process that does operations on tenants as it is told, and says how each ended."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.lifecycle.settings")

import django  # noqa: E402 - forked processes have it already

django.setup()

from django.core.management import CommandError, call_command  # noqa: E402
from django.db import Error, connections  # noqa: E402

from accounts.models import Membership, Tenant, User  # noqa: E402
from blog.models import Post  # noqa: E402
from do_bridge.management.commands import migrate  # noqa: E402
from do_bridge.members.syncing import CopyFailed  # noqa: E402
from do_bridge.tenancy import directory_context, tenant_alias, tenant_context  # noqa: E402
from do_bridge.tenancy.lifecycle.creation import create_tenant  # noqa: E402
from do_bridge.tenancy.lifecycle.history import bookmarks  # noqa: E402
from do_bridge.tenancy.places import WrongPlace  # noqa: E402
from do_bridge.tenancy.tenants import lookup  # noqa: E402

logging.disable(logging.CRITICAL)
FIRST = "ada"


class Nothing(Exception):
    """There was nothing to do: no tenant, or no such member."""


def serve(orders: Connection) -> None:
    """Do what comes along, until the pipe is closed."""
    while True:
        try:
            name, arguments = orders.recv()
        except EOFError:
            return
        orders.send(run(name, arguments))


def run(name: str, arguments: tuple[Any, ...]) -> tuple[str, str]:
    """Return ("ok", …), ("nothing", …) or ("failed", why)."""
    try:
        told = OPERATIONS[name](*arguments)
    except (Nothing, Tenant.DoesNotExist, Membership.DoesNotExist) as error:
        return "nothing", str(error)
    except (CommandError, Error, CopyFailed, WrongPlace) as error:
        return "failed", f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - the oracle says what it makes of it
        return "wrong", f"{type(error).__name__}: {error}"
    finally:
        connections.close_all()
    return "ok", str(told or "")


def _command(*words: Any) -> None:
    out = io.StringIO()
    options = {"verbosity": 0, "stdout": out, "stderr": out, "skip_checks": True}
    if words[0] == "migrate":
        command = migrate.Command()
        # As somebody who types it: a tenant without a row is refused.
        command.is_typed = True
        call_command(command, *map(str, words[1:]), "--noinput", **options)
        return
    call_command(*map(str, words), **options)


def create(slug: str, place: str = "") -> str:
    """Make a tenant, as the view of a sign-up form does, in a jurisdiction or the default one."""
    with directory_context():
        members = [User.objects.get(username=FIRST)]
        _, created, _ = create_tenant(slug, slug.title(), members, jurisdiction=place)
    return "created" if created else ""


def load(slug: str, file: str, place: str = "") -> None:
    """Make a tenant from a file, in a jurisdiction or where an interrupted load has begun."""
    _command("tenant_load", slug, file, *(("--jurisdiction", place) if place else ()))


def by_hand(slug: str, place: str = "none") -> None:
    """Add a tenant's row alone, as in a shell; its first use makes the object."""
    with directory_context():
        Tenant.objects.create(slug=slug, name=slug.title(), jurisdiction=place)


def adopt(slug: str) -> None:
    """Make a tenant of whatever its object holds."""
    with directory_context():
        create_tenant(slug, slug.title(), [User.objects.get(username=FIRST)], adopt=True)


def create_many(file: str) -> None:
    """Make the tenants of a file."""
    _command("create_tenants", file, "--jobs", 2)


def post(slug: str, title: str) -> None:
    """Write into a tenant, as a request does."""
    tenant = lookup.get(slug)
    if tenant is None:
        raise Nothing(slug)
    with tenant_context(slug):
        Post.objects.create(title=title, content="-", user_id=User.objects.get(username=FIRST).pk)


def bookmark(slug: str) -> None:
    """Keep a bookmark of a tenant."""
    if not Tenant.objects.filter(slug=slug).exists():
        raise Nothing(slug)
    _command("tenant_bookmark", slug)


def rewind(slug: str) -> None:
    """Take a tenant back to the latest bookmark that is kept of it, whatever it was kept for."""
    kept = bookmarks.listed(slug).first()
    if kept is None:
        bookmark(slug)
        kept = bookmarks.listed(slug).first()
    if kept is None:
        raise Nothing(slug)
    _command("tenant_restore", slug, "--bookmark", kept.bookmark, "--noinput")


def read(slug: str) -> None:
    """Use a tenant."""
    if lookup.get(slug) is None:
        raise Nothing(slug)
    with tenant_context(slug):
        list(Post.objects.select_related("user")[:5])


def join(slug: str, username: str) -> None:
    """Make somebody a member."""
    with directory_context():
        if Membership.objects.filter(tenant__slug=slug, user__username=username).exists():
            raise Nothing(username)
        Membership.objects.create(
            tenant=Tenant.objects.get(slug=slug), user=User.objects.get(username=username)
        )


def leave(slug: str, username: str) -> None:
    """End a membership."""
    with directory_context():
        Membership.objects.get(tenant__slug=slug, user__username=username).delete()


def rename(username: str, name: str) -> None:
    """Change what all tenants of a user copy."""
    with directory_context():
        user = User.objects.get(username=username)
        user.name = name
        user.save(update_fields=["name"])


OPERATIONS: dict[str, Callable[..., Any]] = {
    "create": create,
    "by hand": by_hand,
    "adopt": adopt,
    "create_many": create_many,
    "load": load,
    "copy": lambda source, target: _command("tenant_copy", source, target),
    "delete": lambda slug: _command("tenant_delete", slug, "--yes"),
    "move": lambda slug, place: _command("tenant_move", slug, "--jurisdiction", place),
    "migrate one": lambda slug: _command("migrate", "--database", tenant_alias(slug)),
    "migrate back": lambda slug: _command("migrate", "sessions", "zero", "--database", tenant_alias(slug)),
    "migrate all": lambda: _command("migrate", "--database", "tenant", "--jobs", 2),
    "bookmark": bookmark,
    "rewind": rewind,
    "post": post,
    "read": read,
    "join": join,
    "leave": leave,
    "rename": rename,
}


@contextlib.contextmanager
def here() -> Any:
    """Use the databases in this process, and close them afterwards."""
    try:
        yield
    finally:
        connections.close_all()
