"""Add functions that Django has since 6.0 and 6.1.

Its sqlite3 backend computes them in Python.
"""

from django.db import models
from django.db.models import Case, When, functions

from do_bridge import django_compat

from .expressions import compiled, numeric, register
from .fragments import Fragment, fill

BITS = 64
# Of an expression's 100 levels of depth; 64 terms in a row would be 64 deep.
GROUP = 8


@register(*django_compat.existing(models, "AnyValue"))
def any_value(self, compiler, connection, **extra):
    # SQLite has no ANY_VALUE(); the smallest value is one of the group, and no NULL if there is another.
    return self.as_sqlite(compiler, connection, function="MIN", **extra)


#: The value of one bit in a group, by the function's name.
_BIT = {
    "BIT_AND": "MIN(({x}) >> {at} & 1)",
    "BIT_OR": "MAX(({x}) >> {at} & 1)",
    "BIT_XOR": "SUM(({x}) >> {at} & 1) & 1",
}


@register(*django_compat.existing(models, "BitAnd", "BitOr", "BitXor"))
def bits(self, compiler, connection, **extra):
    expression = self.get_source_expressions()[0]
    if (condition := django_compat.filter_condition(self)) is not None:
        expression = Case(When(condition, then=expression))
    (value,) = compiled(compiler, expression)
    terms = [f"(({_BIT[self.function]}) << {at})".replace("{at}", str(at)) for at in range(BITS)]
    groups = [f"({' | '.join(terms[at : at + GROUP])})" for at in range(0, BITS, GROUP)]
    return numeric(self, fill(f"({' | '.join(groups)})", x=value))


# RFC 9562: the version's digit, the variant's two bits, and what is random between and behind them.
_END = (
    "substr(lower(hex(randomblob(2))), 2) || "
    "substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(8))), 2)"
)
_UUID4 = f"(lower(hex(randomblob(6))) || '4' || {_END})"
_UUID7 = f"(printf('%%012x', CAST(unixepoch('subsec') * 1000 AS INTEGER)) || '7' || {_END})"


@register(*django_compat.existing(functions, "UUID4"))
def uuid4(self, compiler, connection, **extra):
    return Fragment(_UUID4)


@register(*django_compat.existing(functions, "UUID7"))
def uuid7(self, compiler, connection, **extra):
    if self.get_source_expressions():
        # Django refuses the shift, which only PostgreSQL has.
        return self.as_sql(compiler, connection, **extra)
    return Fragment(_UUID7)
