"""Functions in indexes, constraints, generated columns and defaults: they work, or are refused."""

import datetime

import pytest
from django.db import NotSupportedError, models
from django.db.models import F, Q, Value
from django.db.models import functions as fn
from test_schema import create, make_apps, model_state

ENGINES = ("d1", "durable_object")

TEXTS = [
    fn.Reverse("title"),
    fn.Upper(fn.Reverse("title")),
    fn.Lower("title"),
    fn.Length("title"),
    fn.LPad("title", 5, Value("x")),
    fn.RPad("title", 5, Value("x")),
    fn.Repeat("title", 2),
    fn.Replace("title", Value("a"), Value("b")),
    fn.Concat("title", Value("-"), "title"),
    fn.Left("title", 2),
    fn.Right("title", 2),
    fn.Substr("title", 2),
    fn.StrIndex("title", Value("a")),
    fn.Trim("title"),
    fn.Chr("number"),
    fn.Ord("title"),
    fn.MD5("title"),
    fn.SHA256("title"),
    fn.Coalesce("title", Value("x")),
    fn.NullIf("title", Value("x")),
    fn.Greatest("number", "number"),
    fn.Collate("title", "NOCASE"),
    fn.JSONObject(a="title"),
    fn.JSONArray("title"),
]
NUMBERS = [
    fn.Abs("number"),
    fn.Ceil("ratio"),
    fn.Floor("ratio"),
    fn.Cot("ratio"),
    fn.Power("number", 2),
    fn.Mod("number", 3),
    fn.Round("ratio"),
    fn.Log("number", "number"),
    fn.Sqrt("number"),
    fn.Sign("number"),
    fn.Cast("number", models.TextField()),
    F("number").bitxor(3),
    F("number").bitxor(3).bitxor(4),
    F("number") * 2 + F("ratio"),
]
DATES = [
    fn.TruncDate("moment", tzinfo=datetime.UTC),
    fn.TruncYear("day"),
    fn.TruncMonth("moment", tzinfo=datetime.UTC),
    fn.TruncHour("clock"),
    fn.ExtractYear("day"),
    fn.ExtractMonth("moment", tzinfo=datetime.UTC),
    fn.ExtractHour("clock"),
    fn.ExtractWeekDay("day"),
    fn.TruncTime("moment", tzinfo=datetime.UTC),
]
FIELDS = [
    ("title", models.TextField()),
    ("number", models.IntegerField(null=True)),
    ("ratio", models.FloatField(null=True)),
    ("moment", models.DateTimeField(null=True)),
    ("day", models.DateField(null=True)),
    ("clock", models.TimeField(null=True)),
]
EXPRESSIONS = [*TEXTS, *NUMBERS, *DATES]


def outcome(engine, fields=(), **options):
    """Make the table; return the error's text, or None, and check that a refusal has sent nothing."""
    try:
        create(engine, make_apps(model_state("Visit", [*FIELDS, *fields], **options)), "Visit")
    except NotSupportedError as error:
        assert engine.introspection.table_names() == []
        return str(error)
    return None


def is_refused(expression):
    return any(isinstance(part, fn.Reverse | fn.MD5 | fn.SHA256) for part in expression.flatten())


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=repr)
def test_an_index_of_a_function_is_made_or_refused(engine, expression):
    found = outcome(engine, indexes=[models.Index(expression, "number", name="some")])
    assert (found is not None) == is_refused(expression)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=repr)
def test_a_generated_column_of_a_function_is_made_or_refused(engine, expression):
    field = models.GeneratedField(expression=expression, output_field=models.TextField(), db_persist=True)
    assert (outcome(engine, [("made", field)]) is not None) == is_refused(expression)


def test_the_refusal_of_reverse_says_what_to_do(engine):
    unique = models.UniqueConstraint(fn.Reverse("title"), name="some")
    check = models.CheckConstraint(condition=Q(title=fn.Reverse("title")), name="some")
    partial = models.Index(fields=["number"], condition=Q(title=fn.Reverse("title")), name="some")
    for options in ({"constraints": [unique]}, {"constraints": [check]}, {"indexes": [partial]}):
        found = outcome(engine, **options)
        assert "Reverse() in a constraint, an index or a generated column" in found
        assert "a column of its own" in found


@pytest.mark.parametrize(
    "default",
    [
        fn.Reverse(Value("abc")),
        fn.Concat(Value("a"), fn.Reverse(Value("bc"))),
        Value("a"),
        fn.Upper(Value("a")),
    ],
    ids=repr,
)
def test_a_default_of_the_database_is_made_or_refused(engine, default):
    field = models.TextField(db_default=default)
    found = outcome(engine, [("made", field)])
    assert (found is not None) == is_refused(default)
    if found:
        assert "subquery" in found
