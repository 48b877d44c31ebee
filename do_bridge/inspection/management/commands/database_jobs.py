"""The command database_jobs: work on jobs that were started on the admin's pages."""

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from do_bridge.inspection.jobs import running, state
from do_bridge.inspection.jobs.models import Job
from do_bridge.tenancy import directory_context


class Command(BaseCommand):
    """Take up running jobs whose worker was killed.

    Jobs that another process works on are left to it.
    """

    help = (
        "Continues the admin's jobs on many databases whose process has ended. "
        "Run it again after an interruption."
    )

    def add_arguments(self, parser):
        parser.add_argument("job", nargs="?", type=int, help="The number of one job. Default: all.")

    def handle(self, *, job, verbosity, **options):
        found = state.jobs().filter(state=Job.State.RUNNING)
        if job is not None:
            found = found.filter(pk=job)
            if not found:
                raise CommandError(f"Job {job} does not exist, or is not running.")
        for one in found.order_by("pk"):
            self._run(one, quiet=verbosity < 1 or not self.stderr.isatty())
            numbers = state.progress(one)
            if verbosity >= 1:
                self.stdout.write(
                    f"Job {one.pk} ({one.action}): {numbers['ok']} done, {numbers['failed']} failed, "
                    f"{numbers['waiting']} waiting."
                )

    def _run(self, job, quiet):
        # The raw stream, because Django's wrapper adds a newline after each step of the bar.
        with directory_context(), tqdm(total=job.total, file=self.stderr._out, disable=quiet) as bar:
            if not running.run(job, bar.update):
                self.stderr.write(f"Job {job.pk} is left to the process that works on it.")
