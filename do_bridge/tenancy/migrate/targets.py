"""Which migrations a tenant has after a `migrate` with given arguments, told without asking any object."""

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
    """The arguments name no migration."""


def migrations_at_target(options):
    """Return this code's migrations in a tenant for which `migrate` with these options has nothing to do.

    None where that can't be told beforehand, and each tenant has to be asked. `options` are the command's.
    Raises TargetError for an app or a migration that is not there.
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
    """Say whether this code has an app of that label, with migrations."""
    return label in MigrationLoader(None, ignore_no_migrations=True).migrated_apps


def is_there(applied, target):
    """Say whether a tenant with these migrations has nothing to do for `target`, whatever else it has."""
    return applied & code_migrations() == target and not known.unknown(applied)


def find_there(states, noted, target):
    """Return {fingerprint: migrations} of those in the ledger's `states` at which a tenant is there.

    `noted` are the schemas that the ledger knows. Of each other one that this process does not know either a
    tenant is asked; for the rest the ledger's word holds.
    """
    one_of = {}
    for state in states:
        if state.state == ledger.READY and state.fingerprint and state.fingerprint not in noted:
            one_of.setdefault(state.fingerprint, state.slug)
    found = {}
    # Where there are more, each tenant's own turn tells.
    for fingerprint, slug in islice(one_of.items(), ledger.SCHEMAS):
        applied = known.migrations_of(fingerprint) or _ask(slug)
        if known.learn(applied) == fingerprint and is_there(applied, target):
            found[fingerprint] = applied
    return found


def _ask(slug):
    """Return the migrations that an object has, none if it can't be asked: its own turn will tell why."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        try:
            return read_object(connections[alias]).applied
        except Error:
            return frozenset()


def _unapplied(loader, label, name):
    """Return the migrations that are taken back when a database at head goes to this one."""
    graph = loader.graph
    if name == "zero":
        starts = [key for key in graph.root_nodes() if key[0] == label]
    else:
        try:
            key = (label, loader.get_migration_by_prefix(label, name).name)
        except AmbiguityError as error:
            raise TargetError(f"More than one migration of {label!r} begins with {name!r}.") from error
        except KeyError as error:
            raise TargetError(f"App {label!r} has no migration that begins with {name!r}.") from error
        if key not in graph.nodes:
            raise TargetError(f"{label}.{key[1]} is part of a squashed migration; name that one.")
        starts = [child.key for child in graph.node_map[key].children if child.key[0] == label]
    undone = {step for start in starts for step in graph.backwards_plan(start)}
    return undone | {key for step in undone for key in graph.nodes[step].replaces}
