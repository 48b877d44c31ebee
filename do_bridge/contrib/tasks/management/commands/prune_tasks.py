"""The command prune_tasks: delete the results of old tasks."""

from datetime import timedelta

from django.core.management.base import BaseCommand
from django.utils import timezone


class Command(BaseCommand):
    """Delete tasks that ended some days ago."""

    help = "Deletes background tasks that ended long ago, with their arguments and results."

    def add_arguments(self, parser):
        parser.add_argument(
            "--days", type=float, default=14, help="Keep tasks that ended later. Default: %(default)s."
        )

    def handle(self, *, days, verbosity, **options):
        from do_bridge.contrib.tasks.models import QueuedTask

        ended = [QueuedTask.Status.FAILED, QueuedTask.Status.SUCCESSFUL]
        old = timezone.now() - timedelta(days=days)
        count, _ = QueuedTask.objects.filter(status__in=ended, finished_at__lt=old).delete()
        if verbosity > 0:
            self.stdout.write(f"{count} tasks deleted.")
