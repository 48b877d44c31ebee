"""The rows of a job in D1.

One worker at a time has a job. It stores each chunk in one round trip.
"""

import json
from datetime import timedelta
from uuid import uuid4

from django.apps import apps
from django.db import connections
from django.db.models import Count, Q
from django.utils import timezone

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.slugs import alias_slug, tenant_alias

from .models import Item, Job

#: Databases between two writes to D1; as many are worked on again after a kill.
CHUNK = 16
#: Jobs that are kept; older ones go when a new one is started.
KEPT = 50
_NOW = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
_LATER = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)"


def jobs():
    """Return the query for all jobs."""
    return Job._base_manager.using(conf("DIRECTORY_ALIAS"))


def items(job):
    """Return the query for the databases of a job."""
    return Item._base_manager.using(conf("DIRECTORY_ALIAS")).filter(job_id=job.pk)


def start(action, slugs, author):
    """Store a new job, which is not running yet, and return it."""
    directory = conf("DIRECTORY_ALIAS")
    job = Job(action=action, author=author, created=timezone.now(), total=len(slugs), state=Job.State.STOPPED)
    job.save(using=directory, force_insert=True)
    Item._base_manager.using(directory).bulk_create(
        Item(job_id=job.pk, database=tenant_alias(slug)) for slug in slugs
    )
    # Only now, because a worker ends a job that has no waiting database.
    jobs().filter(pk=job.pk).update(state=Job.State.RUNNING)
    job.state = Job.State.RUNNING
    old = jobs().exclude(state=Job.State.RUNNING).filter(pk__lte=job.pk - KEPT)
    Item._base_manager.using(directory).filter(job__in=old).delete()
    old.delete()
    return job


def progress(job):
    """Return how many of a job's databases are waiting, done or failed.

    The keys are "waiting", "ok" and "failed". Takes one round trip.
    """
    return items(job).aggregate(
        waiting=Count("pk", filter=Q(outcome=Item.Outcome.WAITING)),
        ok=Count("pk", filter=Q(outcome=Item.Outcome.OK)),
        failed=Count("pk", filter=Q(outcome=Item.Outcome.FAILED)),
    )


def is_left_alone(job):
    """Return whether a running job has lost its worker.

    The worker was killed, and its lease has expired by this process's clock.
    """
    return job.state == Job.State.RUNNING and (
        job.expires is None or job.expires < timezone.now() - timedelta(seconds=1)
    )


def stop(job):
    """Let a job end after the databases that are being worked on."""
    jobs().filter(pk=job.pk, state=Job.State.RUNNING).update(state=Job.State.STOPPED, ended=timezone.now())


def go_on(job):
    """Let a stopped job be taken again."""
    jobs().filter(pk=job.pk, state=Job.State.STOPPED).update(state=Job.State.RUNNING, ended=None)


class Taken:
    """The right of one worker to a job, for `seconds`, which it renews."""

    def __init__(self, key, seconds):
        self.key, self.seconds, self.owner = key, seconds, uuid4().hex

    def take(self):
        """Take the job, and return whether it is this worker's now.

        It is not if the job is not running, or if another worker is alive.
        """
        sql = (
            f"UPDATE {_table('Job')} SET owner = %s, expires = {_LATER} WHERE id = %s "  # noqa: S608
            f"AND state = 'running' AND (expires IS NULL OR expires <= {_NOW}) RETURNING id"
        )
        return bool(self._run((sql, [self.owner, self._span, self.key]))[0].rows)

    def renewal(self):
        """Return the statement that renews the right, unless it has ended."""
        sql = (
            f"UPDATE {_table('Job')} SET expires = {_LATER} "  # noqa: S608
            "WHERE id = %s AND owner = %s AND expires IS NOT NULL"
        )
        return sql, [self._span, self.key, self.owner]

    def record(self, outcomes):
        """Store outcomes, and return the slugs of the next chunk.

        `outcomes` is [(slug, whether it failed, text)]. Takes one round trip. An empty list means that
        nothing waits, or that the job is no longer this worker's.
        """
        told = json.dumps(
            [[tenant_alias(slug), "failed" if failed else "ok", text] for slug, failed, text in outcomes]
        )
        mine = f"EXISTS (SELECT 1 FROM {_table('Job')} WHERE id = %s AND owner = %s"  # noqa: S608
        store = (
            f"UPDATE {_table('Item')} SET outcome = value->>1, text = value->>2 FROM json_each(%s) "  # noqa: S608
            f"WHERE job_id = %s AND database = value->>0 AND {mine})"
        )
        following = (
            f"SELECT database FROM {_table('Item')} WHERE job_id = %s AND outcome = '' "  # noqa: S608
            f"AND {mine} AND state = 'running') ORDER BY database LIMIT {CHUNK}"
        )
        *_, found = self._run(
            (store, [told, self.key, self.key, self.owner]),
            self.renewal(),
            (following, [self.key, self.key, self.owner]),
        )
        return [alias_slug(alias) for (alias,) in found.rows]

    def end(self):
        """End the right, and the job if nothing waits."""
        waits = f"EXISTS (SELECT 1 FROM {_table('Item')} WHERE job_id = %s AND outcome = '')"  # noqa: S608
        done = (
            f"UPDATE {_table('Job')} SET state = 'done', ended = {_NOW} "  # noqa: S608
            f"WHERE id = %s AND owner = %s AND state = 'running' AND NOT {waits}"
        )
        free = f"UPDATE {_table('Job')} SET expires = NULL WHERE id = %s AND owner = %s"  # noqa: S608
        self._run((done, [self.key, self.owner, self.key]), (free, [self.key, self.owner]))

    @property
    def _span(self):
        return f"+{self.seconds:.3f} seconds"

    @staticmethod
    def _run(*statements):
        return run_batch(connections[conf("DIRECTORY_ALIAS")], list(statements))


def _table(name):
    model = apps.get_model("do_bridge_inspection", name)
    return connections[conf("DIRECTORY_ALIAS")].ops.quote_name(model._meta.db_table)
