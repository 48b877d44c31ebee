"""What the commands that load SQLite files say."""

from django.core.management.base import CommandError


def add_dry_run(parser):
    """Add the option by which a file is checked, and nothing is written."""
    parser.add_argument(
        "--dry-run", action="store_true", help="Check the file and say what would be done; write nothing."
    )


def tell_counts(command, report, where, *, dry_run=False):
    """Write the rows of each table, and the sum; the database was compared with them, unless in a dry run."""
    width = max(map(len, report.counts), default=0)
    for name, count in sorted(report.counts.items()):
        command.stdout.write(f"  {name:<{width}}  {count:>9}")
    if report.units_before is not None:
        goes = "would go" if dry_run else "went"
        command.stdout.write(f"It {goes} on where an interrupted load had stopped.")
    if dry_run:
        told = f"{where}: {report.tables} tables, {report.rows} rows would be loaded; nothing was written."
    else:
        told = (
            f"{where}: {report.tables} tables, {report.rows} rows loaded. Each table has as many as the file."
        )
    command.stdout.write(command.style.SUCCESS(told))


def warn_left_out(command, report):
    """Write a warning that names the tables whose names the platform keeps for itself."""
    if report.left_out:
        names = ", ".join(report.left_out)
        warning = f"Left out: {names}. The platform keeps these names for itself: rename them in the file."
        command.stderr.write(command.style.WARNING(warning))


def interrupted():
    """Return the CommandError for Ctrl-C."""
    return CommandError(
        "Interrupted. What was sent stays: the same command goes on behind it.", returncode=130
    )


def one_line_with_notes(error):
    """Return an error's text with the notes that were added to it, on one line."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])
