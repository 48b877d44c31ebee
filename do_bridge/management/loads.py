"""The options and messages that the commands for loading SQLite files share."""

from django.core.management.base import CommandError


def add_dry_run(parser):
    """Add the option that checks the file and writes nothing."""
    parser.add_argument(
        "--dry-run", action="store_true", help="Check the file and list its tables. Write nothing."
    )


def write_counts(command, report, where, *, dry_run=False):
    """Write the number of rows of each table, and their sum.

    `where` names the database at the start of a line. Without `dry_run` the load has already compared these
    numbers with the database.
    """
    width = max(map(len, report.counts), default=0)
    for name, count in sorted(report.counts.items()):
        command.stdout.write(f"  {name:<{width}}  {count:>9}")
    if report.units_before is not None:
        continues = "would continue" if dry_run else "continued"
        command.stdout.write(f"The load {continues} after the last rows of an interrupted load.")
    if dry_run:
        text = f"{where}: {report.tables} tables, {report.rows} rows would be loaded. Nothing was written."
    else:
        text = (
            f"{where}: {report.tables} tables, {report.rows} rows loaded. "
            "Each table has the same number of rows as in the file."
        )
    command.stdout.write(command.style.SUCCESS(text))


def warn_left_out(command, report):
    """Warn of tables that were left out because Cloudflare reserves their names."""
    if report.left_out:
        names = ", ".join(report.left_out)
        warning = (
            f"Left out: {names}. Cloudflare reserves these names. Rename the tables in the file, then load "
            "it again."
        )
        command.stderr.write(command.style.WARNING(warning))


def interrupted():
    """Return the CommandError for Ctrl-C."""
    return CommandError(
        "Interrupted. The rows that were sent are kept. Run the same command again to continue.",
        returncode=130,
    )


def one_line_with_notes(error):
    """Return an error's message and its notes on one line."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])
