"""Call an installed function for each compiled query, subqueries included."""

_look = None


def install(look):
    """Call `look(compiler, compile_sql)` for each compiled query from now on.

    It must return what `compile_sql()` returns.
    """
    global _look
    _look = look


class Watched:
    """Part of a compiler, before Django's own."""

    def as_sql(self, *args, **kwargs):
        write = super().as_sql
        return write(*args, **kwargs) if _look is None else _look(self, lambda: write(*args, **kwargs))
