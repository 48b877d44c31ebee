"""What the runtime accepts, and how work is cut to fit.

The numbers are SQLite's limits as workerd sets them, on D1 and in Durable Objects alike, and Cloudflare's
own: https://developers.cloudflare.com/d1/platform/limits/. A local Worker accepts more in places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

#: Bytes of a statement's text.
SQL_BYTES: Final = 100_000
#: Bytes of a value, and of a row.
VALUE_BYTES: Final = 2_000_000
#: Bytes of one parameter that carries many values: below VALUE_BYTES, because values may be larger in SQLite.
LIST_BYTES: Final = 1_000_000
#: Bound parameters of a statement.
PARAMETERS: Final = 100
#: Columns of a table, and of a result.
COLUMNS: Final = 100
#: Arguments of a function.
ARGUMENTS: Final = 32
#: Terms of a compound SELECT.
COMPOUND_TERMS: Final = 5
#: Bytes of a pattern of LIKE or GLOB.
PATTERN_BYTES: Final = 50
#: Statements that D1 runs for one invocation of the relay.
D1_STATEMENTS: Final = 1_000
#: Seconds for which a transaction may hold an object; the runtime resets the object after 30.
LONGEST_LEASE: Final = 25.0


def chunks(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Return the items cut into sequences of `count`, fewer in the last."""
    return [items[at : at + count] for at in range(0, len(items), count)]


def chunks_by_weight(
    items: Iterable[T], weight: Callable[[T], int], heaviest: int, most: int | None = None
) -> Iterator[list[T]]:
    """Yield lists of items that weigh at most `heaviest` together.

    A list may hold one heavier item. It has at most `most` items.
    """
    chunk: list[T] = []
    total = 0
    for item in items:
        own = weight(item)
        if chunk and (total + own > heaviest or len(chunk) == most):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += own
    if chunk:
        yield chunk
