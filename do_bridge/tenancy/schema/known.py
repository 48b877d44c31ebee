"""Remember the migrations of schema fingerprints, and each object's last schema.

A schema fingerprint is a hash of a set of migrations, so what was read from one tenant's object holds for
all of them.
"""

import threading
from collections import OrderedDict

from do_bridge.tenancy.conf import conf

from .fingerprint import code_fingerprint, code_migrations, known_migrations, lacking, of

#: Sets of migrations in memory, some 20 kB each.
SETS = 64
#: Objects in memory with their last schema.
OBJECTS = 10_000

_lock = threading.Lock()
_sets = OrderedDict()
_held = OrderedDict()
_latest = {}


def learn(applied):
    """Remember a set of (app label, name), and return its schema fingerprint."""
    applied = frozenset(applied)
    fingerprint = of(applied)
    with _lock:
        _put(_sets, fingerprint, applied, SETS)
    return fingerprint


def migrations_of(fingerprint):
    """Return the migrations of `fingerprint`, or None if this process has none for it."""
    if fingerprint == code_fingerprint():
        return code_migrations()
    with _lock:
        if (applied := _sets.get(fingerprint)) is not None:
            _sets.move_to_end(fingerprint)
        return applied


def fingerprints():
    """Return the schema fingerprints whose migrations this process knows."""
    with _lock:
        return [code_fingerprint(), *_sets]


def unknown(applied):
    """Return the sorted migrations in `applied` that this code lacks and refuses.

    The list is empty unless DO_BRIDGE["REQUIRE_EXACT_SCHEMA"] is set.
    """
    return sorted(applied - known_migrations()) if conf("REQUIRE_EXACT_SCHEMA") else []


def is_usable(applied):
    """Return whether this code may run on a schema of these migrations as it is.

    A catch-up records a squashed migration whose replaced migrations are all recorded.
    """
    if unknown(applied) or lacking(applied):
        return False
    return applied >= code_migrations() or not conf("CATCH_UP")


def is_known_usable(fingerprint):
    """Return whether this code may run on the schema `fingerprint`.

    Returns False if this process has not seen that schema.
    """
    applied = migrations_of(fingerprint) if fingerprint else None
    return applied is not None and is_usable(applied)


def expected(database):
    """Return the schema fingerprint to expect of an object, by its name on the wire.

    It is the object's last known one, or else the last one found in any object.
    """
    default = code_fingerprint()
    with _lock:
        fingerprint = _held.get(database) or _latest.get("fingerprint", default)
        # It is this object's from now on, so that finds in other objects do not change it.
        _put(_held, database, fingerprint, OBJECTS)
    return fingerprint


def found(database, fingerprint):
    """Remember that an object has the schema `fingerprint`, on which this code runs."""
    with _lock:
        _put(_held, database, fingerprint, OBJECTS)
        _latest["fingerprint"] = fingerprint


def forget():
    """Forget everything, for tests that change the code."""
    with _lock:
        for memory in (_sets, _held, _latest):
            memory.clear()


def _put(memory, key, value, most):
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
