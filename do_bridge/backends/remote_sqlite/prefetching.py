"""Prefetch independent relations in one round trip a level, with Django's own prefetch."""

from contextlib import ExitStack
from functools import partial

from django.db import connections
from django.db.models import Prefetch, prefetch_related_objects
from django.db.models.constants import LOOKUP_SEP

from . import read_ahead


class _Stop(BaseException):
    """Leaves a peek at a statement on another engine."""


def prefetch(rows, *lookups):
    """Do what prefetch_related_objects() does, with one round trip for the lookups of each level.

    `rows` is a list of instances of one model, in one database. The related rows of all lookups of a level
    are read together. Lookups that come with a related queryset's own prefetch_related() are read one by one.
    """
    prefetch_all([(rows, lookups)])


def prefetch_all(pairs):
    """Prefetch for several lists of rows, each with its lookups: [(rows, lookups), …]."""
    pairs = [(rows, _by_level(rows, lookups)) for rows, lookups in pairs if rows and lookups]
    single = [(rows, lookup) for rows, lookups in pairs for lookup in lookups]
    if len(single) < 2:
        for rows, lookup in single:
            prefetch_related_objects(rows, lookup)
        return

    def find_more(connection, statement):
        _ask_all(connection, statement, single, answers)

    answers = read_ahead.Answers(find_more)
    with read_ahead.answering(answers):
        for rows, lookups in pairs:
            prefetch_related_objects(rows, *lookups)


def _ask_all(connection, statement, single, answers):
    """Send a statement together with the next statement of each lookup."""
    # A peek assigns nothing, because it ends at its first statement, whether that has an answer or not.
    found = [_next(partial(prefetch_related_objects, rows, lookup)) for rows, lookup in single]
    read_ahead.ask([read_ahead.Asked(connection, statement), *filter(None, found)], answers)


def _next(work):
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if not hasattr(connection, "linked_part"):
                stack.enter_context(connection.execute_wrapper(_stop))
        try:
            return read_ahead.peek(work)[0]
        except (Exception, _Stop):
            return None  # It is raised again, or runs, where Django gets there.


def _stop(*args):
    raise _Stop


def _by_level(rows, lookups):
    """Return the lookups with what they pass through as lookups of its own, by level.

    Then all relations of a level have been fetched before the first of the next level is. The order stays as
    it is if Django would refuse it.
    """
    known, levels = {name for lookup in lookups for name in _names(lookup)}, []
    for at, lookup in enumerate(lookups):
        if getattr(lookup, "queryset", None) is not None and any(
            _names(other)[0].startswith(_names(lookup)[0] + LOOKUP_SEP) for other in lookups[:at]
        ):
            return list(lookups)
        parts = _names(lookup)[-1].split(LOOKUP_SEP)
        for depth, prefix in _relations(rows[0]._meta.model if hasattr(rows[0], "_meta") else None, parts):
            if prefix not in known:
                known.add(prefix)
                levels.append((depth, prefix))
        levels.append((len(parts), lookup))
    return [lookup for _, lookup in sorted(levels, key=lambda level: level[0])]


def _names(lookup):
    """Return the path under which a lookup's rows are found, and the path that it follows."""
    if isinstance(lookup, Prefetch):
        return lookup.prefetch_to, lookup.prefetch_through
    return lookup, lookup


def _relations(model, parts):
    """Yield (depth, path) of the relations before the last part of a lookup, up to what is none."""
    for depth, name in enumerate(parts[:-1], start=1):
        model = model and _related_models(model).get(name)
        if model is None:
            return
        yield depth, LOOKUP_SEP.join(parts[:depth])


def _related_models(model):
    models = {}
    for field in model._meta.get_fields():
        if field.is_relation:
            is_reverse = field.auto_created and not field.concrete
            models[field.get_accessor_name() if is_reverse else field.name] = field.related_model
    return models
