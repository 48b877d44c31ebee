"""The diagram's layout and the colours of SQL, without a database."""

import pytest

from do_bridge.inspection.reading.diagram import draw
from do_bridge.inspection.reading.highlight import broken_lines, parts
from do_bridge.inspection.reading.queries import Column, ForeignKey, Table


def table(name, *targets):
    columns = [Column("id", "integer", True, None, 1)]
    keys = []
    for target in targets:
        columns.append(Column(f"{target}_id", "integer", False, None, 0))
        keys.append(ForeignKey(f"{target}_id", target, "id", "NO ACTION"))
    return Table(name, False, "", False, columns, keys=keys)


def overlaps(one, other):
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def test_children_stand_right_of_their_parents_and_no_boxes_overlap():
    tables = [table("a"), table("b", "a"), table("c", "b", "a"), *(table(f"alone{n}") for n in range(20))]
    diagram = draw(tables)
    boxes = {box.name: box for box in diagram.boxes}
    assert boxes["a"].x < boxes["b"].x < boxes["c"].x
    assert len(diagram.edges) == 3
    assert not any(
        overlaps(one, other) for one in boxes.values() for other in boxes.values() if one is not other
    )
    assert all(box.x + box.width <= diagram.width for box in diagram.boxes)
    assert all(box.y + box.height <= diagram.height for box in diagram.boxes)


def test_circles_of_keys_a_key_to_itself_and_to_nowhere_are_drawn():
    diagram = draw([table("a", "b"), table("b", "a"), table("tree", "tree"), table("lost", "nowhere")])
    assert {(child, parent) for _, child, _, parent in diagram.edges} == {
        ("a", "b"),
        ("b", "a"),
        ("tree", "tree"),
    }
    assert draw([]).boxes == []


@pytest.mark.parametrize(
    "sql",
    [
        """CREATE TABLE "a b" (id integer NOT NULL DEFAULT 'it''s (1, 2)', -- no )\n n CHECK (n > 1.5))""",
        "CREATE VIEW v AS SELECT /* never closed",
        "'never closed",
        "",
        "SELECT é, 名 FROM t",
    ],
)
def test_the_parts_are_the_statement(sql):
    assert "".join(text for _, text in parts(sql)) == sql


def test_words_have_their_kinds():
    kinds = {text: kind for kind, text in parts("SELECT 'a' AS \"b\", 1.5 FROM t -- c")}
    assert (kinds["SELECT"], kinds["'a'"], kinds['"b"'], kinds["1.5"]) == (
        "keyword",
        "string",
        "name",
        "number",
    )
    assert kinds["-- c"] == "comment"


def test_a_create_statement_has_a_line_for_each_column():
    sql = 'CREATE TABLE "t" ("a" integer, "b" varchar(20) DEFAULT \'(,\', UNIQUE ("a", "b"))'
    assert broken_lines(sql).splitlines() == [
        'CREATE TABLE "t" (',
        '  "a" integer,',
        "  \"b\" varchar(20) DEFAULT '(,',",
        '  UNIQUE ("a", "b")',
        ")",
    ]
    assert broken_lines("CREATE TABLE t (\n a\n)") == "CREATE TABLE t (\n a\n)"
    assert broken_lines("") == ""
