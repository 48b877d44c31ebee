"""Tenants' objects that serve one test after another, as long as each leaves them as they were made."""

from django.db import DatabaseError, connections

from accounts.models import Tenant
from do_bridge.backends.remote_sqlite.rebuild import DEFER_FOREIGN_KEYS
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.replicated import users
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.testing import empty_object, unique_slug

_SCHEMA = "SELECT json_group_array(json_array(name, sql)) FROM (SELECT * FROM sqlite_master ORDER BY name)"
_COUNTERS = "SELECT json_group_array(json_array(name, seq)) FROM sqlite_sequence"
_COLUMNS = "SELECT group_concat(quote(name)) FROM pragma_table_info(t.name)"
_TABLES = (
    f"SELECT name, replace(({_COLUMNS}), char(39), char(34)) FROM pragma_table_list AS t "
    "WHERE schema = 'main' AND type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' "
    "AND name <> '_do_bridge_keys'"
)

#: {(prefix, fingerprint): [(slug, ledger's row, statements that empty it, statements that read it, answers)]}
_free = {}
_taken = {}


def take(prefix):
    """Return the row of a new tenant, whose object holds what its migrations made; the ledger says ready."""
    key = prefix, code_fingerprint()
    if free := _free.get(key):
        slug, row, *how = free.pop()
        tenant = Tenant.objects.create(slug=slug, name=slug.title())
        TenantState(**row).save()
        _taken[slug] = key, row, *how
        return tenant
    slug = unique_slug(prefix)
    # The lease stays, so that the tables are known to be the tenant's once it has its row.
    lease = leases.take_many([leases.look(slug)], Operation.MIGRATE, seconds=0)[slug]
    provision(slug, lease=lease)
    tenant = Tenant.objects.create(slug=slug, name=slug.title())
    ledger.reached(slug, code_fingerprint())
    row = TenantState.objects.filter(slug=slug).values().get()
    _taken[slug] = key, row, *_learn(slug)
    return tenant


def give_back(slug):
    """Take an object's rows away; keep it for the next test if nothing else has changed, else empty it."""
    key, row, emptying, reading, before = _taken.pop(slug)
    alias = tenant_alias(slug)
    for place in [place for place in users._known if place[0] == alias]:
        del users._known[place]
    connections[alias].close()
    try:
        if _ask(alias, [*emptying, *reading])[len(emptying) :] == before:
            _free.setdefault(key, []).append((slug, row, emptying, reading, before))
            return
    except DatabaseError:
        pass  # its tables are not those that it was made with
    finally:
        tenant_databases().release(alias)
    empty_object(alias)


def _learn(slug):
    """Return the statements that empty an object, those that read what is to stay, and their answers."""
    alias = tenant_alias(slug)
    (tables,) = _ask(alias, [_TABLES])
    counts = _ask(alias, [f'SELECT count(*) FROM "{name}"' for name, _ in tables])
    held = {name: columns for (name, columns), count in zip(tables, counts, strict=True) if count != [(0,)]}
    empty = [name for name, _ in tables if name not in held]
    emptying = [DEFER_FOREIGN_KEYS, *(f'DELETE FROM "{name}"' for name in [*empty, "_do_bridge_keys"])]
    emptying.append(f"DELETE FROM sqlite_sequence WHERE name IN ({', '.join(map(repr, empty))})")
    reading = [_SCHEMA, _COUNTERS]
    reading += [
        f'SELECT json_group_array(json_array({columns})) FROM "{name}"' for name, columns in held.items()
    ]
    return emptying, reading, _ask(alias, [*emptying, *reading])[len(emptying) :]


def _ask(alias, statements):
    with unchecked(alias):
        results = run_batch(connections[alias], [(sql, None) for sql in statements])
        return [result.rows for result in results]
