"""Delete and update the rows of a list of keys in one statement.

Django sends one statement for each hundred keys.
"""

import json
from types import SimpleNamespace

from django.db import connections
from django.db.models import deletion, sql
from django.db.models.sql.constants import NO_RESULTS

from do_bridge.driver.limits import LIST_BYTES, chunks_by_weight
from do_bridge.patches import replace


def is_ours(connection):
    """Whether a Django connection belongs to one of do_bridge's engines."""
    return getattr(connection.ops, "compiler_module", "").startswith("do_bridge.")


def pieces(keys):
    """Split a list of keys that would be too long for one parameter."""
    return chunks_by_weight(keys, lambda key: len(json.dumps(str(key))) + 1, LIST_BYTES)


def travels_as_json(keys):
    """Return whether a list of keys is sent as one JSON text.

    It is not if a key is a blob or contains one.
    """
    parts = (part for key in keys for part in (key if isinstance(key, tuple) else (key,)))
    return not any(isinstance(part, bytes | bytearray | memoryview) for part in parts)


class KeyListDelete(sql.DeleteQuery):
    """A query that deletes a list of keys in one statement on this package's engines.

    Rows that reference each other can only be deleted by one statement. Other engines get Django's own.
    """

    def delete_batch(self, pk_list, using):
        if not is_ours(connections[using]) or not travels_as_json(pk_list):
            return super().delete_batch(pk_list, using)
        deleted = 0
        meta = self.get_meta()
        for piece in pieces(pk_list):
            self.clear_where()
            self.add_filter(f"{meta.pk.attname}__in", piece)
            deleted += self.do_query(meta.db_table, self.where, using=using)
        return deleted


class KeyListUpdate(sql.UpdateQuery):
    """Django's own for other engines."""

    def update_batch(self, pk_list, values, using):
        if not is_ours(connections[using]) or not travels_as_json(pk_list):
            super().update_batch(pk_list, values, using)
            return
        self.add_update_values(values)
        for piece in pieces(pk_list):
            self.clear_where()
            self.add_filter("pk__in", piece)
            self.get_compiler(using).execute_sql(NO_RESULTS)


def _with_key_lists(module):
    return SimpleNamespace(**{**vars(module), "DeleteQuery": KeyListDelete, "UpdateQuery": KeyListUpdate})


# The collector finds both classes there.
replace(deletion, "sql", _with_key_lists)
