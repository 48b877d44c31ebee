"""The backend for Django's tasks: each task runs in the tenant that it was enqueued in."""

from __future__ import annotations

import os
import signal
from collections import Counter
from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction

from do_bridge import current_tenant, directory_context, tenant_context
from do_bridge.contrib.tasks.models import QueuedTask
from do_bridge.django_compat import TASKS
from do_bridge.tenancy import NoTenant
from do_bridge.tenancy.schema.errors import TenantBehind
from tests.applications.integrations import once
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

needed(TASKS)

from do_bridge.contrib.tasks import running  # noqa: E402
from do_bridge.contrib.tasks.backend import TenantTaskBackend  # noqa: E402
from do_bridge.contrib.tasks.framework import (  # noqa: E402
    TaskResultDoesNotExist,
    task_enqueued,
    task_finished,
    task_started,
)
from tests.applications.integrations.desk import tasks  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
# How many workers run how many tasks, and how many workers are killed; check_queue.py has a sample.
ONCE = os.environ.get("TASKS_ONCE", "")


@pytest.fixture
def acme(make_tenant):
    return make_tenant().slug


@pytest.fixture
def zeta(make_tenant):
    return make_tenant().slug


def work(**options):
    """Run all tasks in this process."""
    out = StringIO()
    call_command("run_tasks", batch=True, stdout=out, **options)
    return out.getvalue().strip()


def test_a_task_runs_in_the_tenant_that_it_was_enqueued_in(queue_alias, acme, zeta):
    with tenant_context(acme):
        first = tasks.write.enqueue("for acme")
    with tenant_context(zeta):
        second = tasks.write.enqueue(text="for zeta")
    assert work() == "2 tasks run."
    first.refresh()
    second.refresh()
    assert [first.return_value, second.return_value] == [acme, zeta]
    assert (first.status, first.attempts, first.is_finished) == ("SUCCESSFUL", 1, True)
    with tenant_context(acme):
        assert list(Note.objects.values_list("text", flat=True)) == ["for acme"]
    assert current_tenant() is None


def test_a_coroutine_runs_in_its_tenant(db, acme):
    with tenant_context(acme):
        result = tasks.write_later.enqueue("x")
    work()
    result.refresh()
    assert result.return_value == 1


def test_a_task_without_a_tenant_is_refused_before_it_is_stored(db):
    with pytest.raises(NoTenant, match=r"desk\.tasks\.write was enqueued while no tenant is current"):
        tasks.write.enqueue("x")
    assert QueuedTask.objects.count() == 0


def test_a_task_that_needs_no_tenant_never_sees_one_not_even_that_of_the_task_before(db, acme):
    with tenant_context(acme):
        tasks.write.enqueue("x")
        none, wrong = tasks.needs_none.enqueue(), tasks.needs_none.enqueue(use_notes=True)
    work()
    none.refresh()
    wrong.refresh()
    assert none.return_value is None
    assert wrong.status == "FAILED"
    assert wrong.errors[0].exception_class is NoTenant


def test_the_shared_database_is_restored_too(db, acme):
    with directory_context():
        Note.objects.create(text="of D1")
        result = tasks.count.enqueue("of D1")
    work()
    result.refresh()
    assert result.return_value == 1


def test_third_party_tasks_may_be_allowed_without_a_tenant(db, settings):
    options = {"OPTIONS": {"require_tenant": False}}
    settings.TASKS = {"default": settings.TASKS["default"] | options}
    result = tasks.count.enqueue()
    work()
    result.refresh()
    assert result.errors[0].exception_class is NoTenant


def test_a_tenant_sees_no_results_of_another(db, acme, zeta):
    with tenant_context(acme):
        own = tasks.write.enqueue("x")
        shared = tasks.needs_none.enqueue()
        assert tasks.write.get_result(own.id).id == own.id
    with tenant_context(zeta):
        assert tasks.needs_none.get_result(shared.id).id == shared.id
        with pytest.raises(TaskResultDoesNotExist, match=own.id):
            tasks.write.get_result(own.id)


@pytest.mark.parametrize(("task", "class_name"), [(tasks.fail, "ValueError"), (tasks.give, "TypeError")])
def test_what_fails_is_recorded_with_its_traceback(db, acme, task, class_name):
    with tenant_context(acme):
        result = task.enqueue("planted")
    work()
    result.refresh()
    assert result.status == "FAILED"
    assert result.errors[0].exception_class_path.endswith(class_name)
    assert "Traceback" in result.errors[0].traceback


def test_the_framework_sends_its_signals_inside_the_tenant(db, acme):
    seen = []

    def note(sender, task_result, signal, **_):
        seen.append((signals[signal], task_result.status, current_tenant(), sender))

    signals = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}
    for signal_ in signals:
        signal_.connect(note)
    try:
        with tenant_context(acme):
            tasks.fail.enqueue("x")
        work()
    finally:
        for signal_ in signals:
            signal_.disconnect(note)
    assert seen == [
        ("enqueued", "READY", acme, TenantTaskBackend),
        ("started", "RUNNING", acme, TenantTaskBackend),
        ("finished", "FAILED", acme, TenantTaskBackend),
    ]


def test_the_task_of_a_deleted_tenant_fails_before_it_begins(db, acme):
    with tenant_context(acme):
        result = tasks.write.enqueue("x")
    call_command("tenant_delete", acme, "--yes", verbosity=0)
    work()
    result.refresh()
    assert result.errors[0].exception_class_path.endswith("TenantGone")


def test_a_tenant_that_is_being_migrated_is_tried_later(db, acme, monkeypatch):
    with tenant_context(acme):
        result = tasks.write.enqueue("x")

    def behind(slug):
        raise TenantBehind("The tenant is being migrated.")

    with monkeypatch.context() as patched:
        patched.setattr(running.lookup, "get", behind)
        work()
    result.refresh()
    assert (result.status, result.attempts) == ("READY", 0)
    QueuedTask.objects.update(due=0)
    work()
    result.refresh()
    assert (result.status, result.attempts) == ("SUCCESSFUL", 1)


def test_a_task_whose_code_is_gone_fails_and_the_worker_goes_on(db, acme):
    with tenant_context(acme):
        lost, kept = tasks.write.enqueue("x"), tasks.attempts.enqueue()
    QueuedTask.objects.filter(pk=lost.id).update(path="no.such.task")
    assert work() == "2 tasks run."
    row = QueuedTask.objects.get(pk=lost.id)
    assert (row.status, row.errors[0][0]) == ("FAILED", "builtins.ModuleNotFoundError")
    kept.refresh()
    assert kept.return_value == [1, kept.id]


def test_on_commit_queues_a_task_only_if_the_block_succeeds(db, acme, settings):
    settings.QUEUE_ALIAS = "optimistic"
    with tenant_context(acme), transaction.atomic():
        transaction.on_commit(lambda: tasks.write.enqueue("x"))
        assert QueuedTask.objects.count() == 0
    assert QueuedTask.objects.get().tenant == acme


@pytest.mark.parametrize(
    ("options", "message"),
    [({"leese": 5}, r"has the unknown 'leese'\. Use 'lease'"), ({"lease": 0}, "needs a lease above 0")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        TenantTaskBackend("default", {"OPTIONS": options})


def test_the_check_wants_the_application_and_the_command_a_backend_of_ours(settings, monkeypatch):
    backend = TenantTaskBackend("default", {})
    assert backend.check() == []
    monkeypatch.setattr("django.apps.apps.is_installed", lambda name: False)
    (found,) = backend.check()
    assert (found.id, "INSTALLED_APPS" in found.hint) == ("do_bridge_tasks.E001", True)
    settings.TASKS = {"default": {"BACKEND": f"{TASKS}.backends.dummy.DummyBackend"}}
    with pytest.raises(CommandError, match=r"TASKS\['default'\] does not use do_bridge"):
        call_command("run_tasks", batch=True)
    with pytest.raises(CommandError, match="TASKS has no backend 'other'"):
        call_command("run_tasks", backend="other")


def test_old_results_are_pruned_and_unfinished_tasks_stay(db, acme):
    with tenant_context(acme):
        tasks.attempts.enqueue()
        work()
        waiting = tasks.attempts.enqueue()
    out = StringIO()
    call_command("prune_tasks", days=0, stdout=out)
    assert out.getvalue() == "1 tasks deleted.\n"
    assert QueuedTask.objects.get().pk == waiting.id


def test_a_worker_that_is_told_to_end_finishes_its_task_first(db, acme, spawn):
    with tenant_context(acme):
        for number in range(2):
            tasks.numbered.enqueue(number, 3)
    worker = spawn("django", "run_tasks", "--interval", "0.1")
    once.wait_until(lambda: once.read([acme]).begun[0] == 1)
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0
    assert "1 tasks run." in output
    done = once.read([acme])
    assert (done.ended, done.begun[1]) == (Counter({0: 1}), 0)


@pytest.mark.skipif(not ONCE, reason="TASKS_ONCE is not set: it takes minutes")
@pytest.mark.parametrize("max_attempts", [1, 3], ids=["at-most-once", "at-least-once"])
def test_tasks_run_once_each_though_workers_are_killed(queue_alias, make_tenant, spawn, max_attempts):
    worker_count, task_count, kills = (int(n) for n in ONCE.split(","))
    slugs = [make_tenant().slug for _ in range(3)]
    for number in range(task_count):
        with tenant_context(slugs[number % 3]):
            tasks.numbered.enqueue(number, 0.02)
    environment = {"TASK_OPTIONS": f'{{"lease": 5, "max_attempts": {max_attempts}}}'}
    workers = [spawn("django", "run_tasks", "--interval", "0.2", **environment) for _ in range(worker_count)]
    for killed in range(kills):
        reached = task_count * (killed + 1) // (kills + 2)
        once.wait_until(lambda reached=reached: once.left("default") <= task_count - reached, 1500)
        victim = workers.pop(0)
        victim.kill()
        workers.append(spawn("django", "run_tasks", "--interval", "0.2", **environment))
    once.wait_until(lambda: once.left("default") == 0, 1500)
    done = once.read(slugs)
    assert done.strays == 0
    twice = {number for number, times in done.begun.items() if times > 1}
    lost = QueuedTask.objects.filter(status="FAILED").count()
    print(f"{task_count} tasks, {worker_count} workers, {kills} killed: {len(twice)} again, {lost} failed")  # noqa: T201
    if max_attempts == 1:
        assert not twice
        assert lost <= kills
        assert len(done.results) >= task_count - lost
    else:
        # Each has its result once; only the task of a killed worker began again.
        assert dict(done.results) == dict.fromkeys(range(task_count), 1)
        assert lost == 0
        assert len(twice) <= kills
