"""What this process knows of schemas: the migrations behind a fingerprint, and what each object holds.

A fingerprint is a hash of a set of migrations, so what one tenant's object has taught holds for every tenant.
"""

import threading
from collections import OrderedDict

from do_bridge.tenancy.conf import conf

from .fingerprint import code_fingerprint, code_migrations, known_migrations, lacking, of

#: Sets of migrations that a process remembers, some 20 kB each.
SETS = 64
#: Objects of which a process remembers what they held last.
OBJECTS = 10_000

_lock = threading.Lock()
_sets = OrderedDict()
_held = OrderedDict()
_latest = {}


def learn(applied):
    """Remember the set of (app label, name) behind a fingerprint, and return that fingerprint."""
    applied = frozenset(applied)
    fingerprint = of(applied)
    with _lock:
        _put(_sets, fingerprint, applied, SETS)
    return fingerprint


def migrations_of(fingerprint):
    """Return the set of migrations that `fingerprint` stands for, or None if this process never met it."""
    if fingerprint == code_fingerprint():
        return code_migrations()
    with _lock:
        if (applied := _sets.get(fingerprint)) is not None:
            _sets.move_to_end(fingerprint)
        return applied


def unknown(applied):
    """Return the sorted migrations among `applied` that this code does not have; [] where they may be there.

    They harm nobody, unless DO_BRIDGE["REQUIRE_EXACT_SCHEMA"] is set.
    """
    return sorted(applied - known_migrations()) if conf("REQUIRE_EXACT_SCHEMA") else []


def is_usable(applied):
    """Say whether this code may run on a schema of these migrations as it is.

    A squashed migration that is not recorded, though all that it replaces are, is for a catch-up to record.
    """
    if unknown(applied) or lacking(applied):
        return False
    return applied >= code_migrations() or not conf("CATCH_UP")


def is_known_usable(fingerprint):
    """Say whether this process knows that this code may run on the schema `fingerprint`."""
    applied = migrations_of(fingerprint) if fingerprint else None
    return applied is not None and is_usable(applied)


def expected(database):
    """Return the fingerprint to expect of an object, by its name on the wire.

    It is the one that the object was last seen with, or else the last one that was found anywhere.
    """
    default = code_fingerprint()
    with _lock:
        fingerprint = _held.get(database) or _latest.get("fingerprint", default)
        # As from now it is this object's, so that what is found in others no longer changes it.
        _put(_held, database, fingerprint, OBJECTS)
    return fingerprint


def found(database, fingerprint):
    """Remember that an object holds the schema `fingerprint`, on which this code runs."""
    with _lock:
        _put(_held, database, fingerprint, OBJECTS)
        _latest["fingerprint"] = fingerprint


def forget():
    """Forget all of it: tests change the code."""
    with _lock:
        for memory in (_sets, _held, _latest):
            memory.clear()


def _put(memory, key, value, most):
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
