"""Delete and update the rows of a list of keys in one statement, where Django sends one for each hundred."""

import json

from django.db import connections
from django.db.models.sql.constants import NO_RESULTS
from django.db.models.sql.subqueries import DeleteQuery, UpdateQuery

# A value may have 2 MB in production; a key may be longer in the column than as a text.
LIST_BYTES = 1_000_000

_delete_batch = DeleteQuery.delete_batch
_update_batch = UpdateQuery.update_batch


def is_ours(connection):
    """Whether a Django connection belongs to one of do_bridge's engines."""
    return getattr(connection.ops, "compiler_module", "").startswith("do_bridge.")


def pieces(keys):
    """Split a list of keys that would be too long for one parameter."""
    piece, size = [], 0
    for key in keys:
        length = len(json.dumps(str(key))) + 1
        if piece and size + length > LIST_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(key)
        size += length
    if piece:
        yield piece


def travels_as_json(keys):
    """Whether a list of keys goes as one JSON text; it does not if a key is a blob or contains one."""
    parts = (part for key in keys for part in (key if isinstance(key, tuple) else (key,)))
    return not any(isinstance(part, bytes | bytearray | memoryview) for part in parts)


def delete_batch(query, pk_list, using):
    """Django's own for other engines. Here one statement deletes rows that point at each other."""
    if not is_ours(connections[using]) or not travels_as_json(pk_list):
        return _delete_batch(query, pk_list, using)
    deleted = 0
    meta = query.get_meta()
    for piece in pieces(pk_list):
        query.clear_where()
        query.add_filter(f"{meta.pk.attname}__in", piece)
        deleted += query.do_query(meta.db_table, query.where, using=using)
    return deleted


def update_batch(query, pk_list, values, using):
    """Django's own for other engines."""
    if not is_ours(connections[using]) or not travels_as_json(pk_list):
        _update_batch(query, pk_list, values, using)
        return
    query.add_update_values(values)
    for piece in pieces(pk_list):
        query.clear_where()
        query.add_filter("pk__in", piece)
        query.get_compiler(using).execute_sql(NO_RESULTS)


DeleteQuery.delete_batch = delete_batch
UpdateQuery.update_batch = update_batch
