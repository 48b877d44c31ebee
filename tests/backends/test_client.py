"""dbshell: a SQL prompt over the driver."""

import io

import pytest
from django.core.management import CommandError, call_command
from shelf import Author, tables

ENGINES_BY_DAY = ("d1", "durable_object")


@pytest.fixture
def shell(engine, monkeypatch, capsys):
    """shell(text): what dbshell prints to stdout and stderr for a pipe with this text."""

    def shell(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        try:
            call_command("dbshell", database=engine.alias)
        finally:
            shell.out, shell.err = capsys.readouterr()
        return shell.out

    with tables(engine) as using:
        Author.objects.using(using).create(id=1, name="Ann")
        yield shell


def test_statements_of_several_lines_are_read_to_their_semicolon(shell):
    assert shell("SELECT id, name\nFROM shelf_author\nWHERE name = 'Ann';") == (
        "id | name\n-- | ----\n1  | Ann\n"
    )


def test_each_statement_of_a_line_is_run(shell):
    out = shell("SELECT 'a;b' AS one; SELECT 2 AS two; -- and that is all\n.quit\n")
    assert out == "one\n---\na;b\ntwo\n---\n2\n"


def test_values_without_a_text_are_shown_as_sql_has_them(shell):
    assert shell("SELECT NULL AS n, x'00ff' AS b, 9007199254740993 AS i").splitlines()[2].split(" | ") == [
        "NULL",
        "X'00FF'",
        "9007199254740993",
    ]


def test_tables_and_schema_are_shown_without_the_runtimes_own(shell):
    assert shell(".tables\n").split() == ["shelf_author", "shelf_book", "shelf_seat", "shelf_ticket"]
    assert shell(".schema shelf_author\n").startswith('CREATE TABLE "shelf_author"')


def test_quit_ends_the_session(shell):
    assert shell(".quit\nSELECT 1;\n") == ""


def test_a_failing_statement_ends_a_pipe_with_an_error(shell):
    with pytest.raises(CommandError, match="those after it did not run"):
        shell("SELECT 1 AS one;\nSELECT nosuch FROM shelf_author;\nSELECT 2 AS two;\n")
    assert shell.err.startswith("Error: no such column: nosuch")
    assert "one" in shell.out
    assert "two" not in shell.out


def test_an_unknown_command_says_which_there_are(shell):
    with pytest.raises(CommandError, match="A statement failed"):
        shell(".frobnicate\n")
    assert ".tables lists tables" in shell.err
