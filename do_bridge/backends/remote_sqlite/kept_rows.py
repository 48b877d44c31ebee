"""Keep the rows that the rebuild of another table would delete or change.

ON DELETE clauses do that. Django writes such a clause for DB_CASCADE, DB_SET_NULL and DB_SET_DEFAULT. The
rows wait in a copy, as those of the rebuilt table do.
"""

from typing import NamedTuple

from django.db.models import deletion

from do_bridge import django_compat

from .refusals import failing

#: The kind of the failure of a rebuild that would make triggers run.
TRIGGERS = "triggers"


class Kept(NamedTuple):
    """A table whose rows are restored.

    `columns` is empty if all of them can be written.
    """

    table: str
    columns: tuple

    def save(self, quote):
        """Return the statement that copies the rows."""
        selected = ", ".join(map(quote, self.columns)) or "*"
        select = f"SELECT {selected} FROM {quote(self.table)}"  # noqa: S608
        return f"CREATE TABLE {quote(self._copy)} AS {select}"

    def empty(self, quote):
        """Return the statement that deletes what is left of the rows."""
        return f"DELETE FROM {quote(self.table)}"  # noqa: S608

    def restore(self, quote):
        """Return the statements that put the rows back."""
        columns = f" ({', '.join(map(quote, self.columns))})" if self.columns else ""
        copy = quote(self._copy)
        insert = f"INSERT INTO {quote(self.table)}{columns} SELECT * FROM {copy}"  # noqa: S608
        return [insert, f"DROP TABLE {copy}"]

    @property
    def _copy(self):
        return f"copy__{self.table}"


def tables_after(model):
    """Return the list of Kept tables for the rebuild of the model's table.

    They are its children by ON DELETE, and the children of these.
    """
    found, waiting = {}, [model]
    while waiting:
        for relation in deletion.get_candidate_relations_to_delete(waiting.pop()._meta):
            child = relation.related_model
            table = child._meta.db_table.strip('"')
            if django_compat.has_on_delete_clause(relation.field) and table not in found:
                found[table] = _kept(child, table)
                waiting.append(child)
    found.pop(model._meta.db_table.strip('"'), None)
    return list(found.values())


def _kept(model, table):
    fields = model._meta.local_concrete_fields
    is_plain = not any(field.generated for field in fields)
    return Kept(table, () if is_plain else tuple(field.column for field in fields if not field.generated))


def statements_around(kept, quote, literal, rebuilding):
    """Return (statements before, statements after) the rebuilding of tables.

    Tables that are rebuilt themselves are not kept twice.
    """
    kept = list({each.table: each for each in kept if each.table not in rebuilding}.values())
    if not kept:
        return [], []
    before = [refuse_triggers(map(literal, (each.table for each in kept)))]
    before += [each.save(quote) for each in kept]
    # All are emptied before the first is filled, because a row may delete others.
    after = [each.empty(quote) for each in kept]
    after += [sql for each in kept for sql in each.restore(quote)]
    return [(sql, None) for sql in before], [(sql, None) for sql in after]


def refuse_triggers(table_literals):
    """Return the statement that fails if one of the tables has a trigger."""
    listed = "group_concat(name, ', ')"
    return (
        f"SELECT {failing(TRIGGERS, listed)} FROM sqlite_master "  # noqa: S608
        f"WHERE type = 'trigger' AND tbl_name COLLATE NOCASE IN ({', '.join(table_literals)}) "
        "HAVING count(*) > 0"
    )
