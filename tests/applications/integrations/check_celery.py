"""Celery's tasks run in the tenant that was current when they were sent, in a real worker with threads."""

import threading

import pytest

from do_bridge import current_tenant, directory_context, tenant_context
from do_bridge.tenancy import NoTenant
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

needed("celery")

from celery import Celery  # noqa: E402
from celery.contrib.testing.worker import start_worker  # noqa: E402

from do_bridge.contrib import celery as contrib  # noqa: E402

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
app = Celery("integrations", broker="memory://", backend="cache+memory://")
app.conf.update(
    task_serializer="json", worker_hijack_root_logger=False, broker_connection_retry_on_startup=True
)
barrier = threading.Barrier(2, timeout=60)


@app.task
def write(text):
    """Write a note; return the tenant."""
    Note.objects.create(text=text)
    return current_tenant()


@app.task
def which():
    """Return the tenant."""
    return current_tenant()


@app.task
def which_together():
    """Return the tenant after another thread's task has begun, too."""
    before = current_tenant()
    barrier.wait()
    return [before, current_tenant()]


@app.task
def count():
    """Count a tenant's notes."""
    return Note.objects.count()


@app.task
def fail():
    """Fail."""
    raise ValueError("as it should")


@app.task(bind=True)
def again(self):
    """Return the tenant at the second try."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return current_tenant()


@app.task
def send_on():
    """Send another task."""
    return which.delay().id


@pytest.fixture(scope="module")
def connected():
    contrib.connect()
    yield
    contrib.disconnect()


@pytest.fixture(params=["solo", "threads"], scope="module")
def worker(request, connected):
    """A worker of Celery's own in this process."""
    concurrency = 1 if request.param == "solo" else 2
    with start_worker(app, pool=request.param, concurrency=concurrency, perform_ping_check=False):
        yield


@pytest.fixture
def slugs(make_tenant):
    return [make_tenant().slug for _ in range(2)]


def get(result, **options):
    return result.get(timeout=60, disable_sync_subtasks=False, **options)


def test_a_task_runs_in_the_tenant_that_sent_it(worker, slugs):
    results = []
    for slug in slugs:
        with tenant_context(slug):
            results.append(write.delay(f"for {slug}"))
    assert [get(result) for result in results] == slugs
    for slug in slugs:
        with tenant_context(slug):
            assert [note.text for note in Note.objects.all()] == [f"for {slug}"]


def test_a_task_without_a_tenant_never_has_that_of_the_task_before(worker, slugs):
    with tenant_context(slugs[0]):
        get(write.delay("x"))
        with pytest.raises(ValueError, match="as it should"):
            get(fail.delay())
    for _ in range(3):
        assert get(which.delay()) is None
        with pytest.raises(NoTenant, match="no tenant is current"):
            get(count.delay())


def test_a_message_of_a_process_that_was_not_connected_has_no_tenant(worker, slugs, caplog):
    caplog.set_level("WARNING", "do_bridge.tasks")
    contrib.signals.before_task_publish.disconnect(dispatch_uid="do_bridge.send_tenant")
    with tenant_context(slugs[0]):
        result = which.delay()
    contrib.connect()
    assert get(result) is None
    assert "has no tenant, so it runs without one. Call do_bridge.contrib.celery.connect()" in caplog.text


def test_the_shared_database_is_carried_too(worker, slugs):
    with directory_context():
        Note.objects.all().delete()
        Note.objects.create(text="of D1")
        assert get(count.delay()) == 1


def test_retries_and_tasks_that_a_task_sends_stay_in_the_tenant(worker, slugs):
    with tenant_context(slugs[1]):
        assert get(again.delay()) == slugs[1]
        chained = (which.si() | which.si()).delay()
        assert get(chained) == slugs[1]
        assert get(app.AsyncResult(get(send_on.delay()))) == slugs[1]


def test_the_schedule_names_a_tenant_by_headers(worker, slugs):
    assert get(which.apply_async(headers=contrib.for_tenant(slugs[0]))) == slugs[0]


def test_the_task_of_a_tenant_that_is_gone_has_no_tenant(worker, slugs, caplog):
    caplog.set_level("WARNING", "do_bridge.tasks")
    caplog.set_level("WARNING", "do_bridge.tasks")
    assert get(which.apply_async(headers=contrib.for_tenant("no-such-tenant"))) is None
    assert "Tenant 'no-such-tenant' of task" in caplog.text


def test_a_task_that_is_called_eagerly_stays_in_the_context_of_its_caller(connected, slugs):
    with tenant_context(slugs[0]):
        assert which.apply().get() == slugs[0]
        assert current_tenant() == slugs[0]


def test_threads_of_a_worker_do_not_share_the_tenant(connected, slugs):
    barrier.reset()
    results = []
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        for slug in slugs:
            with tenant_context(slug):
                results.append(which_together.delay())
        assert [get(result) for result in results] == [[slug, slug] for slug in slugs]
