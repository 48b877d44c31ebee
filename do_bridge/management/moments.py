"""Moments on the command line."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime

from django.conf import settings
from django.utils.timezone import get_default_timezone, is_naive


def add_moment(parser, option, text):
    """Add an option whose value is a moment.

    Without a time zone it is in settings.TIME_ZONE.
    """
    parser.add_argument(
        option,
        type=moment,
        metavar="TIME",
        help=f"{text} For example 2026-11-27T18:00 (in {settings.TIME_ZONE}) or 2026-11-27T18:00+01:00.",
    )


def moment(text):
    """Return the datetime of a text, in UTC; raise ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a time. Write it as 2026-11-27T18:00.") from error
    if is_naive(found):
        found = found.replace(tzinfo=get_default_timezone())
    return found.astimezone(UTC)


def shown(at):
    """Return a moment as text, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
