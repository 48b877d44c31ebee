"""A local relay for one test run, and the aliases that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from do_bridge.database_url import ENGINES
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import TenantDatabases, tenant_databases

_HOW = ("local", "configured")


def aliases() -> list[str]:
    """Return the plain aliases in DATABASES that have an engine of this package."""
    databases = connections.settings
    plain = dict.keys(databases)
    return [alias for alias in plain if dict.__getitem__(databases, alias)["ENGINE"] in ENGINES.values()]


def is_wanted() -> bool:
    """Whether tests need a relay that is started for them."""
    how = conf("TEST_RELAY")
    if how not in _HOW:
        raise ImproperlyConfigured(f"DO_BRIDGE['TEST_RELAY'] is {how!r}. Set it to 'local' or 'configured'.")
    return how == "local" and bool(aliases())


@contextmanager
def local_relay(say: Callable[[str], None] | None = None) -> Iterator[Any]:
    """Run a relay on this machine for tests, on free ports and with temporary data.

    Yields the LocalRelay, or None if tests use the configured one. `say` gets lines about tools that are
    installed first. Raises RelayError.
    """
    if not is_wanted():
        yield None
        return
    # Not needed for tests on a configured relay.
    from do_bridge.relay import LocalRelay

    with LocalRelay(say=say) as relay:
        point_at(relay.url, relay.token, relay.database_ids)
        yield relay


def point_at(url: str, token: str, database_ids: list[str]) -> None:
    """Point every alias of this package's engines at a relay.

    `database_ids` are the ids of the relay's D1 databases. The first one stays unused, as the site's own.
    Each D1 alias gets one of the others for its tests, and its share of the rest for parallel processes.
    Objects are in no jurisdiction there, because the local runtime has none.
    """
    to_relay = {"HOST": url, "PASSWORD": token}
    engines = {alias: dict.__getitem__(connections.settings, alias) for alias in aliases()}
    d1 = [alias for alias, settings in engines.items() if settings["ENGINE"] == ENGINES["d1"]]
    ids = database_ids[1:]
    if len(d1) > len(ids):
        raise ImproperlyConfigured(
            f"DATABASES has {len(d1)} aliases of D1, and the local relay has {len(ids)} databases for tests. "
            "Set DO_BRIDGE['TEST_RELAY'] to 'configured', and TEST['NAME'] of each alias."
        )
    for alias, settings in engines.items():
        settings.update(to_relay)
        options = settings["OPTIONS"] = {**settings.get("OPTIONS", {})}
        options.pop("jurisdiction", None)
        test = {**settings.get("TEST", {}), "NAME": None}
        if alias in d1:
            own = ids[d1.index(alias) :: len(d1)]
            test |= {"NAME": own[0], "CLONES": own[1:]}
            options["transport"] = "relay"
        settings["TEST"] = test
    if isinstance(databases := tenant_databases(), TenantDatabases):
        template = dict.get(databases, databases.template, {})
        databases.update_tenants({**to_relay, "OPTIONS": template.get("OPTIONS", {})})
    for connection in connections.all(initialized_only=True):
        if connection.alias in engines:
            connection.close()


def share_out(worker: str) -> None:
    """Give a process of `pytest -n` D1 databases of its own.

    "gw0" gets TEST["NAME"], the others TEST["CLONES"]. pytest-django appends the process's name to each name,
    and the result is not a database's id.
    """
    for alias in aliases():
        settings = dict.__getitem__(connections.settings, alias)
        test = settings["TEST"]
        if settings["ENGINE"] != ENGINES["d1"] or not worker or not str(test["NAME"]).endswith(f"_{worker}"):
            continue
        ids = [test["NAME"].removesuffix(f"_{worker}"), *(test.get("CLONES") or [])]
        number = int(worker.removeprefix("gw"))
        if number >= len(ids):
            raise ImproperlyConfigured(
                "pytest -n needs a D1 database for each process, but "
                f"DATABASES[{alias!r}]['TEST']['CLONES'] lists {len(ids) - 1} and this is process "
                f"{number + 1}. Add ids, run fewer processes, or set DO_BRIDGE['TEST_RELAY'] to 'local'."
            )
        settings["TEST"] = {**test, "NAME": ids[number]}
