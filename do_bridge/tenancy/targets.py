"""Which fingerprint a tenant has after a `migrate` with given arguments, told without asking any object."""

from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.loader import MigrationLoader

from .fingerprint import code_fingerprint, code_migrations, of


class TargetError(ValueError):
    """The arguments name no migration."""


def fingerprint_at_target(options):
    """Return the fingerprint of a tenant for which `migrate` with these options has nothing to do.

    None where that can't be told beforehand, and each tenant has to be asked. `options` are the command's.
    Raises TargetError for an app or a migration that is not there.
    """
    if options["prune"] or options["run_syncdb"]:
        return None
    label, name = options["app_label"], options["migration_name"]
    if not label:
        return code_fingerprint()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    if label not in loader.migrated_apps:
        raise TargetError(f"App {label!r} does not have migrations.")
    if not name:
        return code_fingerprint()
    return of(code_migrations() - _unapplied(loader, label, name))


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
