"""Run work for many tenants with a progress bar, and report the outcomes."""

from django.core.management.base import CommandError
from tqdm import tqdm

from do_bridge.tenancy.migrate.fleet import Fleet


def run_fleet(command, work, slugs, *, jobs, verbosity, again):
    """Run `work(slug)` for each tenant, and print a table of the outcomes.

    `work` returns an Outcome. A failure does not stop the others. `again` is the sentence that says how to
    repeat it for those that failed. Raises CommandError if a tenant failed or was not reached.
    """
    fleet = Fleet(work, jobs=jobs)
    # The raw stream, because Django's wrapper adds a newline after each step of the bar.
    hidden = verbosity < 1 or not command.stderr.isatty()
    with tqdm(total=len(slugs), unit="tenant", file=command.stderr._out, disable=hidden) as bar:
        fleet.run(slugs, bar)
    outcomes = sorted(fleet.outcomes, key=lambda outcome: outcome.slug)
    failures = [outcome.slug for outcome in outcomes if outcome.failed]
    if verbosity >= 1:
        width = max((len(outcome.slug) for outcome in outcomes), default=0)
        for one in outcomes:
            text = command.style.ERROR(one.error) if one.failed else command.style.SUCCESS(one.text)
            command.stdout.write(f"  {one.slug:<{width}}  {one.seconds:6.1f} s  {text}")
        command.stdout.write(f"{len(outcomes)} tenants, {len(failures)} failed.")
    if fleet.interrupted:
        raise CommandError(
            f"Interrupted after {len(outcomes)} of {len(slugs)} tenants. The command did not run for the "
            "others.",
            returncode=130,
        )
    if failures:
        raise CommandError(
            f"{len(failures)} of {len(outcomes)} tenants failed: {', '.join(failures)}. {again}"
        )
