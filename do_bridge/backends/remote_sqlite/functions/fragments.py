"""Parts of SQL that carry their parameters: a part used twice brings them twice."""

from string import Formatter
from typing import NamedTuple


class Fragment(NamedTuple):
    """SQL with `%s` placeholders, and their parameters in order."""

    sql: str
    params: tuple = ()


def fill(template, **parts):
    """Return the Fragment of `template`, filled with parts.

    Each `{name}` is replaced by the (sql, params) of that name.
    """
    sql, params = [], []
    for text, name, _, _ in Formatter().parse(template):
        sql.append(text)
        if name:
            part_sql, part_params = parts[name]
            sql.append(part_sql)
            params.extend(part_params)
    return Fragment("".join(sql), tuple(params))
