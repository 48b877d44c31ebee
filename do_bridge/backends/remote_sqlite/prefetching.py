"""Prefetching of independent relations, with one round trip for each level.

Django's own prefetch code attaches the rows.
"""

from functools import partial

from django.db.models import Prefetch, prefetch_related_objects
from django.db.models.constants import LOOKUP_SEP

from . import read_ahead


def prefetch(rows, *lookups, answers=None):
    """Do what prefetch_related_objects() does, in one round trip for each level.

    `rows` is a list of instances of one model, in one database. The related rows of all lookups of a level
    are read together. Lookups that come with a related queryset's own prefetch_related() are read one by one.
    `answers` may have some rows already.
    """
    prefetch_all([(rows, lookups)], answers)


def prefetch_all(pairs, answers=None):
    """Prefetch for several lists of rows, each with its lookups: [(rows, lookups), …]."""
    pairs = [(rows, _by_level(rows, lookups)) for rows, lookups in pairs if rows and lookups]
    single = [(rows, lookup) for rows, lookups in pairs for lookup in lookups]
    answers = read_ahead.Answers() if answers is None else answers
    if len(single) > 1:
        answers.find_more = lambda connection, statement: _ask_all(connection, statement, single, answers)
    with read_ahead.answering(answers):
        for rows, lookups in pairs:
            prefetch_related_objects(rows, *lookups)


def _ask_all(connection, statement, single, answers):
    """Send a statement together with the next statement of each lookup."""
    # A peek assigns nothing, because it ends at its first statement, whether that has an answer or not.
    found = [
        read_ahead.next_statement(partial(prefetch_related_objects, rows, lookup)) for rows, lookup in single
    ]
    read_ahead.ask([read_ahead.Asked(connection, statement), *filter(None, found)], answers)


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
    """Return the path of a lookup's rows, and the path that the lookup follows."""
    if isinstance(lookup, Prefetch):
        return lookup.prefetch_to, lookup.prefetch_through
    return lookup, lookup


def _relations(model, parts):
    """Yield (depth, path) of each relation before the last part of a lookup.

    Stop at the first part that is not a relation.
    """
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
