"""Values keep what they are on the way to every database and back."""

from __future__ import annotations

import datetime
import enum
import math
from decimal import Decimal
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver import codec


class Colour(enum.IntEnum):
    """An integer with a name."""

    RED = 7


class Markup(str):
    """A text of a class of its own."""

    __slots__ = ()


KEPT: list[Any] = [
    None, 0, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -1e-300, 1e300, 0.1 + 0.2,
    "", "plain", "q'\"\\\n\t☃😀", "nul\0inside", "\u2028", "x" * 4097, "nul\0" + "y" * 5000,
    b"", b"\x00\xff'", b"b" * 2049, bytes(range(256)) * 100,
]  # fmt: skip


@pytest.mark.parametrize("value", KEPT, ids=lambda value: f"{type(value).__name__} {value!r:.20}")
def test_a_value_comes_back_as_it_was_given(connection: driver.Connection, value: Any) -> None:
    (back,) = connection.execute("SELECT %s", [value]).fetchone() or ()
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (True, 1),
        (False, 0),
        (Colour.RED, 7),
        (Markup("<b>"), "<b>"),
        (math.nan, None),
        (Decimal("1.10"), "1.10"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02 03:04:05.000006"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.time(3, 4, 5), "03:04:05"),
    ],
)
def test_other_types_are_stored_as_sqlite_stores_them(
    tenant: driver.Connection, given: Any, stored: Any
) -> None:
    assert tenant.execute("SELECT %s", [given]).fetchone() == (stored,)


def test_a_parameter_has_its_own_type_in_an_expression(connection: driver.Connection) -> None:
    row = connection.execute(
        "SELECT typeof(%s), typeof(%s), typeof(%s), typeof(%s), typeof(%s), %s / 2, 5-%s",
        [5, 5.0, "5", None, b"5", 5, -5],
    ).fetchone()
    assert row == ("integer", "real", "text", "null", "blob", 2, 10)


def test_an_infinity_is_kept_by_an_object(tenant: driver.Connection) -> None:
    row = tenant.execute("SELECT %s, %s, typeof(%s)", [math.inf, -math.inf, math.inf]).fetchone()
    assert row == (math.inf, -math.inf, "real")


def test_a_blob_of_nearly_two_megabytes_is_stored(connection: driver.Connection, table: str) -> None:
    blob = bytes(range(256)) * 7400
    connection.execute(f"INSERT INTO {table} (v) VALUES (%s)", [blob])
    assert connection.execute(f"SELECT v FROM {table}").fetchone() == (blob,)


def test_hundreds_of_large_values_stay_below_the_limit_of_parameters(tenant: driver.Connection) -> None:
    values = [("x" * 4100 + str(n)) if n % 2 else (b"y" * 2100 + str(n).encode()) for n in range(240)]
    for start in range(0, 240, 80):
        part = values[start : start + 80]
        assert tenant.execute(f"SELECT {', '.join(['%s'] * 80)}", part).fetchone() == tuple(part)
    total = " + ".join(["length(%s)"] * 60)
    row = tenant.execute(f"SELECT ({total}) + ({total}) + ({total}) + ({total})", values).fetchone()
    assert row == (sum(map(len, values)),)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused(tenant: driver.Connection, value: int) -> None:
    with pytest.raises(OverflowError, match="Python int too large"), driver.count_trips() as trips:
        tenant.execute("SELECT %s", [value])
    assert trips.count == 0


def test_a_lone_surrogate_is_refused(tenant: driver.Connection) -> None:
    with pytest.raises(UnicodeEncodeError, match="codec can"):
        tenant.execute("SELECT %s", ["\ud800"])


def test_an_unknown_type_is_refused_by_its_name_alone(tenant: driver.Connection) -> None:
    class Secretive:
        def __repr__(self) -> str:
            return "the secret"

    with pytest.raises(driver.ProgrammingError, match="Error binding parameter") as caught:
        tenant.execute("SELECT %s, %s", [1, Secretive()])
    assert str(caught.value) == "Error binding parameter 2: type 'Secretive' is not supported"


def test_a_value_of_an_unknown_form_is_an_error() -> None:
    with pytest.raises(driver.InterfaceError, match="The answer holds a"):
        codec.decode([[{"z": 1}]])
