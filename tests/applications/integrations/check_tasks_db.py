"""The database backend of django-tasks-db: what works where, and that it carries no tenant."""

from collections import Counter

import pytest

from do_bridge import tenant_context
from do_bridge.django_compat import TASKS
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Run

needed(TASKS)
models = needed("django_tasks_db.models")

from tests.applications.integrations.desk import tasks  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
COUNT = 30
WORKER = ("django", "db_worker", "--backend", "db", "--batch", "--no-startup-delay", "--no-reload")


@pytest.mark.parametrize("alias", ["object", "optimistic"])
def test_each_task_runs_once_on_an_object_and_on_optimistic_d1(db, settings, spawn, alias):
    settings.QUEUE_ALIAS = alias
    task = tasks.noted.using(backend="db")
    for number in range(COUNT):
        task.enqueue(number)
    workers = [spawn(*WORKER) for _ in range(2)]
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    begun = Counter(Run.objects.using("default").values_list("number", flat=True))
    print("CODES", [w.returncode for w in workers], [o[-600:] for o in outputs])  # noqa: T201
    assert begun == dict.fromkeys(range(COUNT), 1)


def test_it_carries_no_tenant(db, settings, spawn, make_tenant):
    settings.QUEUE_ALIAS = "object"
    with tenant_context(make_tenant().slug):
        result = tasks.noted.using(backend="db").enqueue(1)
    worker = spawn(*WORKER)
    worker.communicate(timeout=300)
    result.refresh()
    assert (result.status, result.return_value) == ("SUCCESSFUL", None)
