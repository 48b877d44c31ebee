"""Limits of the runtime that nobody should meet: they are worked around, or named before anything is sent."""

import datetime
import decimal

import pytest
from django.db import NotSupportedError, models
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Case, Count, F, Q, Value, When
from django.db.models.functions import Coalesce, Concat
from django.test import override_settings

ENGINES_BY_DAY = ("d1", "durable_object")

WIDTH = 60
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=datetime.UTC)
LAST = {
    "text": "it's\x00ä",
    "blob": b"\x00\xff",
    "big": 2**62 + 1,
    "real": 0.1,
    "whole": 5.0,
    "price": decimal.Decimal("1.25"),
    "moment": MOMENT,
    "flag": True,
    "nothing": None,
    "extra": {"a": [1.5, None]},
}


def wide_models():
    """A parent and a child of more columns together than a result may have."""
    numbers = [(f"n{number}", models.IntegerField(default=number)) for number in range(WIDTH)]
    last = [
        ("text", models.TextField(default="")),
        ("blob", models.BinaryField(default=b"")),
        ("big", models.BigIntegerField(default=0)),
        ("real", models.FloatField(default=0)),
        ("whole", models.FloatField(default=0)),
        ("price", models.DecimalField(max_digits=6, decimal_places=2, default=0)),
        ("moment", models.DateTimeField(null=True)),
        ("flag", models.BooleanField(default=False)),
        ("nothing", models.TextField(null=True)),
        ("extra", models.JSONField(default=dict)),
    ]
    state, key = ProjectState(), ("id", models.BigAutoField(primary_key=True))
    parent = ("parent", models.ForeignKey("far.Parent", models.CASCADE))
    state.add_model(ModelState("far", "Parent", [key, *numbers, *last]))
    state.add_model(ModelState("far", "Child", [key, *numbers, parent]))
    return state.apps.get_model("far", "Parent"), state.apps.get_model("far", "Child")


@pytest.fixture
def wide(engine):
    parent, child = wide_models()
    with engine.schema_editor() as editor:
        editor.create_model(parent)
        editor.create_model(child)
    with override_settings(DATABASE_ROUTERS=[]):
        for number in range(3):
            made = parent.objects.using(engine.alias).create(n0=number, **LAST)
            child.objects.using(engine.alias).create(parent=made, n1=number)
        yield parent.objects.using(engine.alias), child.objects.using(engine.alias)


def test_related_models_may_be_wider_than_a_result(wide, django_assert_num_queries, engine):
    _, children = wide
    with django_assert_num_queries(1, connection=engine):
        found = list(children.select_related("parent").order_by("-n1"))
        assert [child.parent.n0 for child in found] == [2, 1, 0]
    for child in found:
        assert {name: getattr(child.parent, name) for name in LAST} == LAST
        assert type(child.parent.whole) is float


def test_wide_results_keep_annotations_values_and_filters(wide):
    _, children = wide
    query = children.select_related("parent").annotate(sum=F("n1") + F("parent__n0"))
    assert [child.sum for child in query.filter(parent__n0__gt=0, sum__lt=4).order_by("sum")] == [2]
    assert query.get(n1=2).sum == 4
    assert query.count() == 3
    assert query.filter(n1=2).exists()
    fields = [f"n{number}" for number in range(WIDTH)]
    rows = list(children.order_by("n1").values_list(*fields, *(f"parent__{name}" for name in fields)))
    assert rows[1] == (0, 1, *range(2, WIDTH), 1, 1, *range(2, WIDTH))
    assert children.select_related("parent").distinct().order_by("n1").first().parent.n0 == 0


def test_wide_results_that_cannot_be_packed_are_refused_before_anything_is_sent(wide, trips):
    _, children = wide
    related = children.select_related("parent")
    trips.count = 0
    with pytest.raises(NotSupportedError, match=r"134 columns.*prefetch_related\(\)"):
        list(related.annotate(number=Count("id")).defer("id"))
    with pytest.raises(NotSupportedError, match="columns"):
        list(related.union(related))
    assert trips.count == 0


@pytest.fixture
def people(engine):
    state = ProjectState()
    fields = [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())]
    state.add_model(ModelState("far", "Person", fields))
    model = state.apps.get_model("far", "Person")
    with engine.schema_editor() as editor:
        editor.create_model(model)
    with override_settings(DATABASE_ROUTERS=[]):
        manager = model.objects.using(engine.alias)
        manager.bulk_create(model(name=f"person {number}") for number in range(300))
        yield manager


def test_a_case_may_have_hundreds_of_branches(people):
    branches = [When(pk=number, then=Value(number * 10)) for number in range(1, 301)]
    query = people.annotate(ten=Case(*branches, default=Value(0)))
    assert list(query.order_by("pk").values_list("ten", flat=True)) == [n * 10 for n in range(1, 301)]


def test_short_lists_may_be_many(people):
    wanted = Q()
    for start in range(1, 300, 10):
        wanted |= Q(pk__in=list(range(start, start + 5))) & ~Q(name__in=[f"person {start}", "nobody"])
    assert people.filter(wanted).count() == 30 * 4


def test_expressions_may_have_hundreds_of_values(people):
    values = [Value(None, output_field=models.TextField())] * 100
    query = people.annotate(
        first=Coalesce(*values, "name"), **{f"v{number}": Value(number) for number in range(40)}
    )
    found = query.get(pk=1)
    assert (found.first, found.v39) == ("person 0", 39)
    assert (
        people.filter(pk=1).annotate(all=Concat(*["name", Value("-", models.TextField())] * 20)).get().all
        == "person 0-" * 20
    )


def test_in_bulk_takes_any_number_of_keys(people):
    assert len(people.in_bulk(list(range(1, 301)))) == 300


def test_conditions_of_mixed_kinds_may_be_hundreds(people):
    each = [Q(name=f"person {n}") & ~Q(pk=n) | Q(pk=-n, name__contains="x" * 60) for n in range(120)]
    either, none = Q(), Q()
    for condition in each:
        either |= condition
        none &= ~condition
    assert people.filter(either).count() == 120
    assert people.filter(none).count() == 180
    assert people.exclude(either).count() == 180
