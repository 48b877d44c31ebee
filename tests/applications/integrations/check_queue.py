"""A task belongs to one worker at a time, on D1 in both modes and on a Durable Object."""

from __future__ import annotations

import itertools
import os
import threading
from uuid import uuid4

import pytest
from django.db import OperationalError, connections
from django.utils import timezone

from do_bridge.contrib.tasks.models import QueuedTask
from do_bridge.contrib.tasks.queue import LOST, Queue
from do_bridge.contrib.tasks.worker import Postponed, Worker
from tests.applications.integrations import once

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
LONG, OVER = 60.0, -1.0
# Tasks of the workers of which one is killed.
TASKS = 24
KILLED_ON = ["default", "optimistic", "object"] if os.environ.get("INTEGRATIONS_ALL") else ["object"]


@pytest.fixture
def backend():
    """A name of its own for each test, whose tasks no other test sees."""
    return f"b-{uuid4().hex[:8]}"


@pytest.fixture
def put(queue_alias, backend):
    """put(**fields): a queued task of the test's backend."""

    def make(**fields):
        values = {"backend": backend, "queue": "default", "path": "-", "arguments": {}}
        return QueuedTask.objects.create(**values | {"enqueued_at": timezone.now()} | fields)

    return make


@pytest.fixture
def queue(queue_alias, backend):
    """queue(worker, …): a Queue of the test's backend."""
    return lambda worker="w", queues=("*",), **options: Queue(backend, queues, worker, **options)


def test_a_task_is_claimed_once_and_the_rest_is_left(put, queue):
    first, second = put(), put()
    one, other = queue("one"), queue("other")
    assert [one.claim().pk, other.claim().pk, one.claim()] == [first.pk, second.pk, None]
    row = QueuedTask.objects.get(pk=first.pk)
    assert (row.status, row.attempts, row.workers) == ("RUNNING", 1, ["one"])
    assert row.started_at == row.last_attempted_at is not None


def test_the_highest_priority_comes_first_and_then_the_oldest(put, queue):
    tasks = [put(priority=priority) for priority in (0, 5, 0, -5)]
    own = queue()
    claimed = [own.claim().pk for _ in tasks]
    assert claimed == [tasks[place].pk for place in (1, 0, 2, 3)]


def test_only_named_queues_are_served_and_only_tasks_that_are_due(put, queue):
    put(queue="other")
    put(due=4_000_000_000_000)
    mine = put(queue="mail", due=1)
    own = queue(queues=["mail", "post"])
    assert own.claim().pk == mine.pk
    assert own.claim() is None


def test_a_task_whose_lease_has_expired_is_claimed_again_and_its_first_worker_is_refused(put, queue):
    task = put()
    slow = queue("slow", lease=OVER)
    held = slow.claim()
    again = queue("next").claim()
    assert (again.pk, again.attempts, again.workers) == (task.pk, 2, ["slow", "next"])
    assert not slow.renew(held)
    assert not slow.finish(held, "SUCCESSFUL", 1, [])
    assert not slow.postpone(held, 1)
    assert queue("next").finish(again, "SUCCESSFUL", 2, [])
    assert QueuedTask.objects.get(pk=task.pk).return_value == 2


def test_a_lease_that_is_renewed_does_not_expire(put, queue):
    put()
    held = queue("slow", lease=OVER).claim()
    assert queue(lease=LONG).renew(held)
    assert queue("next").claim() is None


def test_a_task_of_lost_workers_fails_after_its_last_attempt(put, queue):
    task = put()
    options = {"lease": OVER, "max_attempts": 2}
    assert [queue(name, **options).claim().attempts for name in "ab"] == [1, 2]
    own = queue("c", **options)
    assert own.claim() is None
    (lost,) = own.fail_lost()
    assert (lost.pk, lost.status, lost.errors[0][0]) == (task.pk, "FAILED", LOST)
    assert own.fail_lost() == []


def test_at_most_once_is_one_attempt(put, queue):
    put()
    assert queue("a", lease=OVER, max_attempts=1).claim() is not None
    assert queue("b", max_attempts=1).claim() is None


def test_a_claim_whose_answer_was_lost_returns_the_same_task(put, queue, monkeypatch):
    first, _ = put(), put()
    own = queue()
    update, lose = own._update, itertools.chain([True], itertools.repeat(False))

    def losing(*arguments):
        rows = update(*arguments)
        if next(lose):
            raise OperationalError("the answer was lost")
        return rows

    monkeypatch.setattr(own, "_update", losing)
    with pytest.raises(OperationalError, match="the answer was lost"):
        own.claim()
    again = own.claim()
    assert (again.pk, again.attempts, again.workers) == (first.pk, 1, ["w"])


def test_a_result_may_be_recorded_twice_by_its_own_worker(put, queue):
    put()
    own = queue()
    task = own.claim()
    assert own.finish(task, "FAILED", None, [["E", "t"]])
    assert own.finish(task, "FAILED", None, [])
    assert QueuedTask.objects.get(pk=task.pk).errors == [["E", "t"]]


def test_a_postponed_task_keeps_its_attempts(put, queue):
    task = put()
    own = queue(max_attempts=1)
    assert own.postpone(own.claim(), 60)
    assert own.claim() is None
    QueuedTask.objects.update(due=0)
    again = own.claim()
    assert (again.pk, again.attempts, again.workers) == (task.pk, 1, ["w"])


def test_a_claim_and_a_result_take_one_round_trip_each(put, queue, queue_alias):
    from do_bridge import driver

    put()
    connections[queue_alias].ensure_connection()
    own = queue()
    with driver.count_trips() as trips:
        task = own.claim()
        assert trips.count == 1
        own.finish(task, "SUCCESSFUL", None, [])
    assert trips.count == 2


def test_threads_share_the_tasks_and_none_runs_twice(put, queue, backend):
    for _ in range(24):
        put()
    claimed, errors = [], []

    def work(name):
        own = queue(name)
        try:
            while (task := own.claim()) is not None:
                claimed.append(task.pk)
                own.finish(task, "SUCCESSFUL", None, [])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(claimed) == len(set(claimed)) == 24


def test_a_worker_goes_on_after_an_error_and_postpones_what_cannot_begin(put, queue, monkeypatch, caplog):
    caplog.set_level("WARNING", "do_bridge.tasks")
    tasks = [put(arguments={"n": number}) for number in range(2)]
    own, failing = queue(), iter([True])
    claim = own.claim

    def claim_later():
        if next(failing, False):
            raise OperationalError("the relay does not answer")
        return claim()

    monkeypatch.setattr(own, "claim", claim_later)

    def run(task, finish):
        if task.arguments["n"] == 0:
            raise Postponed(60)
        finish("SUCCESSFUL", "done", [])

    worker = Worker(own, run, interval=0.01, batch=True)
    worker.work()
    assert "The queue can't be read; the worker tries again: the relay does not answer" in caplog.text
    rows = [QueuedTask.objects.get(pk=task.pk) for task in tasks]
    assert [row.status for row in rows] == ["READY", "SUCCESSFUL"]
    assert worker.done == 2


@pytest.mark.parametrize("failures", [2, 100])
def test_a_result_is_recorded_as_soon_as_the_database_answers_within_the_lease(
    put, queue, monkeypatch, caplog, failures
):
    task = put()
    own = queue(lease=1.5)
    finish, left = own.finish, iter(range(failures))

    def finish_later(*arguments):
        if next(left, None) is not None:
            raise OperationalError("the relay does not answer")
        return finish(*arguments)

    monkeypatch.setattr(own, "finish", finish_later)
    worker = Worker(own, lambda row, record: record("SUCCESSFUL", 1, []), max_tasks=1)
    worker.work()
    row = QueuedTask.objects.get(pk=task.pk)
    assert row.status == ("SUCCESSFUL" if failures == 2 else "RUNNING")
    # The lease ends, and the task runs again.
    assert ("can't be recorded: the relay does not answer" in caplog.text) == (failures == 100)


def test_a_worker_keeps_the_lease_of_a_task_that_takes_longer(put, queue):
    task = put()
    own, others = queue("long", lease=1.5), []

    def run(row, finish):
        once.wait_until(lambda: QueuedTask.objects.get(pk=row.pk).leased_until > row.leased_until + 1000)
        others.append(queue("other").claim())
        finish("SUCCESSFUL", None, [])

    Worker(own, run, batch=True).work()
    assert others == [None]
    assert QueuedTask.objects.get(pk=task.pk).attempts == 1


@pytest.mark.parametrize("queue_alias", KILLED_ON, indirect=True)
def test_each_task_has_one_result_though_a_worker_is_killed(queue_alias, backend, spawn, make_tenant):
    slugs = [make_tenant().slug for _ in range(2)]
    once.enqueue(backend, slugs, TASKS)
    module = "tests.applications.integrations.worker_process"
    workers = [spawn(module, backend, str(number), "0.05", "3", "5") for number in range(3)]
    once.wait_until(lambda: once.left(backend) < TASKS * 3 / 4)
    killed = workers[1]
    killed.kill()
    once.wait_until(lambda: once.left(backend) == 0)
    done = once.read(slugs)
    assert dict(done.results) == dict.fromkeys(range(TASKS), 1)
    assert done.strays == 0
    # The task of the killed worker may have begun twice; no other.
    assert sum(done.begun.values()) - TASKS <= 1
    assert sum(done.ended.values()) - TASKS <= 1
