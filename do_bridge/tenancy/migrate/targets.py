"""Find the migrations of a tenant after a given `migrate`.

The tenant's object is not read.
"""

from itertools import islice

from django.db import Error, connections
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.loader import MigrationLoader

from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import code_migrations
from do_bridge.tenancy.slugs import tenant_alias


class TargetError(ValueError):
    """The arguments do not name a migration."""


def migrations_at_target(options):
    """Return the migrations of a tenant that is already at the target of `migrate`.

    `options` are those of the command. They are this code's migrations. Returns None if each tenant has to be
    read to find out. Raises TargetError for an app or a migration that does not exist.
    """
    if options["prune"] or options["run_syncdb"]:
        return None
    label, name = options["app_label"], options["migration_name"]
    if not label:
        return code_migrations()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    if label not in loader.migrated_apps:
        raise TargetError(f"App {label!r} does not have migrations.")
    if not name:
        return code_migrations()
    return code_migrations() - _unapplied(loader, label, name)


def has_migrations(label):
    """Return whether this code has an app with that label that has migrations."""
    return label in MigrationLoader(None, ignore_no_migrations=True).migrated_apps


def is_there(applied, target):
    """Return whether a tenant with these migrations is already at `target`.

    Migrations beyond this code's count only if they are refused.
    """
    return applied & code_migrations() == target and not known.unknown(applied)


def find_there(states, noted, target):
    """Return {fingerprint: migrations} of the schemas that are already at `target`.

    The schemas are those in the ledger's `states`; `noted` are the ones whose migrations the ledger has. For
    each other one that this process does not know either, one tenant's object is read.
    """
    one_of = {}
    for state in states:
        if state.state == ledger.READY and state.fingerprint and state.fingerprint not in noted:
            one_of.setdefault(state.fingerprint, state.slug)
    found = {}
    # If there are more, each tenant is checked in its turn.
    for fingerprint, slug in islice(one_of.items(), ledger.SCHEMAS):
        applied = known.migrations_of(fingerprint) or _ask(slug)
        if known.learn(applied) == fingerprint and is_there(applied, target):
            found[fingerprint] = applied
    return found


def _ask(slug):
    """Return the migrations of an object, or an empty set if it can't be read.

    The error appears when the tenant's turn comes.
    """
    alias = tenant_alias(slug)
    with unchecked(alias):
        try:
            return read_object(connections[alias]).applied
        except Error:
            return frozenset()


def _unapplied(loader, label, name):
    """Return the migrations that are unapplied by going to the named one.

    The database is up to date before.
    """
    graph = loader.graph
    if name == "zero":
        starts = [key for key in graph.root_nodes() if key[0] == label]
    else:
        try:
            key = (label, loader.get_migration_by_prefix(label, name).name)
        except AmbiguityError as error:
            raise TargetError(f"More than one migration of {label!r} begins with {name!r}.") from error
        except KeyError as error:
            raise TargetError(
                f"App {label!r} has no migration that begins with {name!r}. "
                f"`manage.py showmigrations {label}` lists its migrations."
            ) from error
        if key not in graph.nodes:
            raise TargetError(
                f"{label}.{key[1]} is part of a squashed migration. Name the squashed migration instead."
            )
        starts = [child.key for child in graph.node_map[key].children if child.key[0] == label]
    undone = {step for start in starts for step in graph.backwards_plan(start)}
    return undone | {key for step in undone for key in graph.nodes[step].replaces}
