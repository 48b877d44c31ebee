"""Results of tasks, groups and chords: stored, read, forgotten, cleaned up."""

from __future__ import annotations

import datetime
from typing import Any

from crawl import Bounds

GROUPS = "g-{}"
AT_LEAST = 150
# Its view of a group does not look for one that is missing.
BROKEN = r".*/celery/group/status/g-[23]/"
# These come from the machine's own clock: the statement's, and celery's.
HIDDEN = {"django_celery_results.taskresult": ["date_started"]}
BOUNDS = {
    "visitor": Bounds(
        ["/admin/", "/celery/task/done/t-1/", "/celery/task/status/t-2/", "/celery/group/status/g-1/"]
    ),
    "superuser": Bounds(
        [
            "/admin/",
            *(f"/celery/task/{kind}/t-{n}/" for kind in ("done", "status") for n in range(12)),
            *(f"/celery/group/{kind}/g-{n}/" for kind in ("done", "status") for n in range(4)),
            "/admin/django_celery_results/taskresult/?q=add",
            "/admin/django_celery_results/taskresult/?q=%25_",
            "/admin/django_celery_results/taskresult/?status__exact=FAILURE&o=-1.2",
            "/admin/django_celery_results/taskresult/?p=2",
        ],
        skip="/logout/|/password",
        per_route=8,
        submit=r"/admin/auth/.*/change/$",
    ),
}


def fill(root: Any) -> dict[str, Any]:
    """Run the tasks; return what the results say when they are read again."""
    from site_celery_results.tasks import add, app, fail, give

    values = [
        None,
        True,
        2**53 + 1,
        1.5,
        "ünicode ☃ \x00 '%s'",
        [1, {"a": None}],
        {"deep": [[[]]]},
        "x" * 50_000,
    ]
    for number, value in enumerate(values):
        give.apply((value,), {}, task_id=f"t-{number}")
    add.apply((1,), {"b": 2}, task_id="t-8")
    fail.apply(("no good",), task_id="t-9")
    for number in range(150):
        add.apply((number, 1), task_id=f"many-{number}")
    answers = {"read": [read(app, f"t-{number}") for number in range(11)]}
    answers["counted"] = counts()
    answers["groups"] = groups(app)
    answers["chord"] = chord(app)
    app.AsyncResult("t-7").forget()
    answers["forgotten"] = read(app, "t-7")
    return answers


def read(app: Any, task: str) -> list[Any]:
    """What celery reads about a task."""
    result = app.AsyncResult(task)
    return [task, result.state, repr(result.result), result.name, repr(result.args), repr(result.kwargs)]


def counts() -> list[Any]:
    """The results by status, as reports count them."""
    from django.db.models import Count, Max
    from django_celery_results.models import TaskResult

    rows = TaskResult.objects.values("status", "task_name").annotate(n=Count("pk"), last=Max("task_id"))
    return [list(row.values()) for row in rows.order_by("status", "task_name")]


def groups(app: Any) -> list[Any]:
    """Save groups, read them, delete one."""
    for number in range(3):
        results = [app.AsyncResult(f"many-{number * 10 + part}") for part in range(10)]
        app.GroupResult(GROUPS.format(number), results).save()
    restored = app.GroupResult.restore("g-1")
    found = [
        restored.id,
        restored.ready(),
        restored.successful(),
        restored.completed_count(),
        restored.join(),
    ]
    app.GroupResult.restore("g-2").delete()
    return [*found, app.GroupResult.restore("g-2")]


def chord(app: Any) -> list[Any]:
    """Count a chord's parts down to its callback."""
    from celery.app.task import Context
    from django_celery_results.models import ChordCounter
    from site_celery_results.tasks import give

    header = app.GroupResult("chord-1", [app.AsyncResult(f"many-{number}") for number in range(3)])
    body = give.s().set(task_id="chord-body")
    app.backend.apply_chord(header, body)
    left = []
    for number in range(3):
        request = Context(id=f"many-{number}", group="chord-1", chord=body)
        app.backend.on_chord_part_return(request, "SUCCESS", number)
        left.append(list(ChordCounter.objects.values_list("group_id", "count")))
    return [left, read(app, "chord-body")]


def after() -> dict[str, Any]:
    """Clean up what is old, migrate backwards and forwards again."""
    from django.core.management import call_command
    from django_celery_results.models import GroupResult, TaskResult
    from site_celery_results.tasks import app

    old = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    TaskResult.objects.filter(task_id__startswith="many-1").update(date_done=old)
    app.backend.cleanup()
    answers = {"left": [TaskResult.objects.count(), GroupResult.objects.count()]}
    for target in ("0009", "zero", "0014"):
        call_command("migrate", "django_celery_results", target, verbosity=0, interactive=False)
    answers["after migrating to zero and back"] = [TaskResult.objects.count(), indexes()]
    return answers


def indexes() -> dict[str, Any]:
    """The columns of each table's indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if "celery" in name]
        return {
            table: sorted(
                [found["columns"], found["unique"], found["primary_key"]]
                for found in connection.introspection.get_constraints(cursor, table).values()
                if found["index"] or found["unique"]
            )
            for table in tables
        }
