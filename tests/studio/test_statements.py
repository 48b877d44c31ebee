"""SQL as libSQL's clients write it, for the driver."""

import pytest

from do_bridge.studio.statements import bound, parameters, single, split, words_of
from do_bridge.studio.values import Refusal, decode, encode


@pytest.mark.parametrize(
    ("sql", "numbers"),
    [
        ("SELECT 1", []),
        ("SELECT ?, ?", [1, 2]),
        ("SELECT ?2, ?", [2, 3]),
        ("SELECT :a, @b, $c, :a", [1, 2, 3, 1]),
        ("SELECT '?', \"?\", `?`, [?] -- ?\n, ? /* ? */", [1]),
        ("SELECT a->>'$.x', b->'$' FROM t WHERE c = $d", [1]),
        ("SELECT a$b, ?", [1]),
        ("SELECT a%?", [1]),
    ],
)
def test_places_are_numbered_as_sqlite_numbers_them(sql, numbers):
    assert [place.number for place in parameters(sql)] == numbers


@pytest.mark.parametrize(
    ("sql", "args", "named", "values"),
    [
        ("SELECT ?2, ?1, ?2", ["a", "b"], {}, ["b", "a", "b"]),
        ("SELECT :a, :b", [], {"a": 1, ":b": 2}, [1, 2]),
        ("SELECT :a, :b", [1, 2], {}, [1, 2]),
        ("SELECT ?, ?", [1], {}, [1, None]),
    ],
)
def test_each_place_gets_its_value(sql, args, named, values):
    assert bound(sql, args, named)[1] == values


def test_percent_signs_stay():
    assert bound("SELECT 'a%s', 5 %?", [3], {}) == ("SELECT 'a%%s', 5 %% %s ", [3])
    assert bound("SELECT 'a%s'", [], {}) == ("SELECT 'a%s'", None)


def test_more_values_than_places_are_refused():
    with pytest.raises(Refusal, match="fewer parameters"):
        bound("SELECT ?", [1, 2], {})


def test_a_text_is_split_into_its_statements():
    trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM u; SELECT ';'; END"
    found = list(split(f"SELECT 1; -- a;b\n{trigger};; SELECT ';'"))
    assert found == ["SELECT 1", f"-- a;b\n{trigger}", "SELECT ';'"]
    with pytest.raises(Refusal, match="more than one"):
        single("SELECT 1; SELECT 2")
    assert single("SELECT 1; -- end") == "SELECT 1"


def test_the_words_of_a_control_statement():
    assert words_of('rollback to savepoint "a b"') == ["ROLLBACK", "TO", "SAVEPOINT", "A B"]
    assert words_of("BEGIN IMMEDIATE") == ["BEGIN", "IMMEDIATE"]


@pytest.mark.parametrize("value", [None, 0, -(2**63), 2**63 - 1, 0.5, "", "ü🙂", b"", b"\0\xff"])
def test_values_travel_both_ways(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [None, {}, {"type": "x"}, {"type": "integer", "value": "a"}, {"type": "blob", "base64": "*"}, []],
)
def test_what_is_no_value_is_refused(value):
    with pytest.raises(Refusal, match="value of the request"):
        decode(value)
