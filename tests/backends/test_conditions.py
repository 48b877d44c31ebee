"""Conditions of constraints and indexes, where SQLite takes neither parameters nor subqueries."""

import datetime

import pytest
from django.db import IntegrityError, NotSupportedError, models
from django.db.models import CheckConstraint, Q
from django.db.models.functions import TruncDate
from django.test import override_settings
from test_schema import create, make_apps, model_state, run

PARIS = override_settings(USE_TZ=True, TIME_ZONE="Europe/Paris")


def test_a_long_list_in_a_check_is_kept(engine):
    check = CheckConstraint(condition=Q(kind__in=range(70)), name="kinds")
    state = model_state("Visit", [("kind", models.IntegerField())], constraints=[check])
    create(engine, make_apps(state), "Visit")
    run(engine, "INSERT INTO zoo_visit (kind) VALUES (69)")
    with pytest.raises(IntegrityError, match="kinds"):
        run(engine, "INSERT INTO zoo_visit (kind) VALUES (70)")


def test_moments_are_read_in_utc(engine):
    check = CheckConstraint(condition=Q(moment__hour__lt=20), name="by_day")
    day = models.Index(TruncDate("moment", tzinfo=datetime.UTC), name="day")
    fields = [("moment", models.DateTimeField())]
    state = model_state("Visit", fields, constraints=[check], indexes=[day])
    create(engine, make_apps(state), "Visit")
    run(engine, "INSERT INTO zoo_visit (moment) VALUES ('2021-07-01 19:59:00')")
    with pytest.raises(IntegrityError, match="by_day"):
        run(engine, "INSERT INTO zoo_visit (moment) VALUES ('2021-07-01 20:00:00')")


@pytest.mark.parametrize(
    "options",
    [
        {"constraints": [CheckConstraint(condition=Q(moment__hour__lt=20), name="by_day")]},
        {
            "constraints": [
                CheckConstraint(condition=Q(moment__date__gt=datetime.date(2021, 7, 1)), name="new")
            ]
        },
        {"indexes": [models.Index(TruncDate("moment"), name="day")]},
    ],
)
def test_another_time_zone_than_the_stored_one_is_refused(engine, options):
    apps = make_apps(model_state("Visit", [("moment", models.DateTimeField())], **options))
    with PARIS, pytest.raises(NotSupportedError, match=r"time zone Europe/Paris.*tzinfo=UTC"):
        create(engine, apps, "Visit")
    assert engine.introspection.table_names() == []
