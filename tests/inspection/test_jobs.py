"""Jobs on many databases: watched, left, stopped, killed and taken up again; two workers do nothing twice."""

import signal
import threading
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Tenant
from do_bridge.inspection.jobs import running, state
from do_bridge.inspection.jobs.models import Item, Job
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object
from tests.inspection.pages import LOOK, plain
from tests.tenancy.processes import finish, start

ACTION = "/admin/databases/action/"
LIST = "/admin/databases/"


@pytest.fixture
def behind(site):
    """Tenants whose objects nobody has made, which a migration makes; the number is given."""
    made = []

    def make(number):
        slugs = [f"job-{place:02}" for place in range(number)]
        made.extend(slugs)
        for slug in slugs:
            empty_object(tenant_alias(slug))
        Tenant.objects.bulk_create(Tenant(slug=slug, name=slug) for slug in slugs)
        return slugs

    yield make
    _end_threads()
    Item.objects.all().delete()
    Job.objects.all().delete()
    for slug in made:
        empty_object(tenant_alias(slug))
    ledger.all_states().filter(slug__in=made).update(state=ledger.DELETED, operation="", error="")
    Tenant.objects.filter(slug__in=made)._raw_delete("default")
    ledger.forget(made)
    lookup.forget()


def _end_threads():
    for thread in threading.enumerate():
        if thread.name.startswith("do-bridge-job"):
            thread.join(60)


def ended(job):
    """Wait for the job's end; return its numbers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job.refresh_from_db()
        if job.state != Job.State.RUNNING:
            break
        time.sleep(0.05)
    return state.progress(job)


def test_all_that_are_behind_are_migrated_by_a_job_whose_page_tells_how_far_it_is(root, behind):
    behind(5)
    values = {"action": "migrate", "scope": "all", "q": "job-", "state": "behind"}
    asked = plain(root.post(ACTION, values))
    assert "Apply the missing migrations to 5 tenants : job-00" in asked
    assert not Job.objects.exists()
    answer = root.post(ACTION, {**values, "confirmed": "yes"})
    job = Job.objects.get()
    assert answer.url == f"{LIST}jobs/{job.pk}/"
    assert ended(job) == {"waiting": 0, "ok": 5, "failed": 0}
    page = plain(root.get(answer.url))
    assert "5 of 5 databases, 0 failed." in page
    assert "Started by root" in page
    told = root.get(f"{answer.url}state.json").json()
    assert (told["state"], told["done"], told["total"]) == ("done", 5, 5)
    assert ledger.behind([f"job-{n:02}" for n in range(5)]) == []


def test_a_killed_job_goes_on_with_what_is_left_when_its_page_is_opened(root, behind, settings):
    slugs = behind(state.CHUNK + 6)
    job = state.start("migrate", slugs, "root")
    # At the record of the first chunk, which goes out: after it the worker is gone.
    killed = start("database_jobs", kill=("d1:", "do_bridge_inspection_item", 2, True))
    code, output = finish(killed)
    assert code == -signal.SIGKILL, output
    job.refresh_from_db()
    done = state.progress(job)
    assert (job.state, done["ok"], done["waiting"]) == ("running", state.CHUNK, 6)
    deadline = time.monotonic() + 30
    while not state.is_left_alone(job) and time.monotonic() < deadline:
        time.sleep(0.1)
    root.get(f"{LIST}jobs/{job.pk}/state.json")
    assert ended(job) == {"waiting": 0, "ok": len(slugs), "failed": 0}
    assert ledger.behind(slugs) == []


def test_a_job_killed_amid_a_chunk_is_finished_by_the_command(behind, capsys):
    slugs = behind(3)
    job = state.start("migrate", slugs, "root")
    code, output = finish(start("database_jobs", kill=("do:", "job-01", 1, True)))
    assert code == -signal.SIGKILL, output
    deadline = time.monotonic() + 30
    while state.progress(job)["waiting"] and time.monotonic() < deadline:
        call_command("database_jobs", job.pk)
        time.sleep(0.1)
    assert state.progress(job) == {"waiting": 0, "ok": 3, "failed": 0}
    assert "3 done, 0 failed, 0 waiting" in capsys.readouterr().out
    with pytest.raises(CommandError, match="does not exist, or is not running"):
        call_command("database_jobs", job.pk)


def test_a_renewal_that_arrives_after_the_end_takes_nothing(behind):
    job = state.start("migrate", behind(1), "root")
    first, second = state.Taken(job.pk, 30), state.Taken(job.pk, 30)
    assert first.take()
    first.end()
    first._run(first.renewal())
    assert second.take()


def test_two_workers_at_once_do_every_database_once(behind, monkeypatch):
    slugs = behind(4)
    seen = []

    def work(name):
        def one(chunk):
            seen.extend(chunk)
            time.sleep(0.2)
            return [(slug, False, "ok") for slug in chunk]

        return one

    monkeypatch.setattr(running, "worker", work)
    monkeypatch.setattr(state, "CHUNK", 2)
    job = state.start("check", slugs, "root")
    threads = [running.run_in_thread(job) for _ in range(3)]
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == slugs
    assert ended(job)["ok"] == 4


def test_a_job_is_stopped_and_continued_and_its_failures_are_tried_again(root, behind, monkeypatch):
    slugs = behind(4)
    go_on, begun = threading.Event(), threading.Event()

    def work(name):
        def one(chunk):
            begun.set()
            go_on.wait(30)
            return [
                (slug, slug == "job-01", "as if it failed" if slug == "job-01" else "ok") for slug in chunk
            ]

        return one

    monkeypatch.setattr(running, "worker", work)
    monkeypatch.setattr(state, "CHUNK", 2)
    job = state.start("check", slugs, "root")
    thread = running.run_in_thread(job)
    assert begun.wait(30)
    page = f"{LIST}jobs/{job.pk}/"
    root.post(page, {"do": "stop"})
    go_on.set()
    thread.join(30)
    assert ended(job) == {"waiting": 2, "ok": 1, "failed": 1}
    assert "The job was stopped. It can be continued." in plain(root.get(page))
    root.post(page, {"do": "continue"})
    assert ended(job) == {"waiting": 0, "ok": 3, "failed": 1}
    shown = plain(root.get(page))
    assert "as if it failed" in shown
    assert "Try the 1 failed again" in shown
    again = root.post(page, {"do": "retry"})
    assert ended(Job.objects.latest("pk"))["failed"] == 1
    assert again.url != page


def test_a_dead_worker_fails_its_tenants_and_the_job_ends(root, behind, monkeypatch):
    slugs = behind(2)
    job = state.start("measure", slugs, "root")
    with monkeypatch.context() as patched:
        for slug in slugs:
            patched.setitem(connections[tenant_alias(slug)].settings_dict, "HOST", "http://127.0.0.1:9")
        running.run_in_thread(job).join(60)
    assert ended(job) == {"waiting": 0, "ok": 0, "failed": 2}
    assert "could not be reached" in plain(root.get(f"{LIST}jobs/{job.pk}/"))


def test_a_job_needs_the_permission_of_its_action(staff, behind):
    behind(1)
    client = staff(LOOK)
    values = {"action": "migrate", "scope": "all", "q": "job-", "confirmed": "yes"}
    assert client.post(ACTION, values).status_code == 403
    job = state.start("migrate", [], "root")
    assert client.get(f"{LIST}jobs/{job.pk}/").status_code == 200
    assert client.post(f"{LIST}jobs/{job.pk}/", {"do": "stop"}).status_code == 403
    assert not Item.objects.exists()


def test_a_job_of_nothing_or_of_an_unknown_action_is_not_started(root, site):
    told = plain(root.post(ACTION, {"action": "dump", "scope": "all"}, follow=True))
    assert "Select an action that can be taken on all tenants" in told
    nobody = {"action": "check", "scope": "all", "q": "nobody-has-this"}
    assert "nothing was started" in plain(root.post(ACTION, nobody, follow=True))
    assert root.get(f"{LIST}jobs/999999/").status_code == 404


def test_old_jobs_go_when_a_new_one_is_started(behind, monkeypatch):
    monkeypatch.setattr(state, "KEPT", 2)
    slugs = behind(1)
    for _ in range(5):
        job = state.start("check", slugs, "root")
        state.stop(job)
    assert Job.objects.count() <= 3
    assert Item.objects.count() == Job.objects.count()
