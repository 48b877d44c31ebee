"""The options of the commands that make or move tenants in a place."""

from do_bridge.driver.places import JURISDICTIONS, LOCATIONS
from do_bridge.tenancy.places import NONE, place_of

_DEFAULT = "OPTIONS['jurisdiction'] of the tenants' template"


def add_place_arguments(parser, *, is_required=False, default=_DEFAULT):
    """Add `--jurisdiction` and `--location` to a command."""
    parser.add_argument(
        "--jurisdiction",
        choices=[NONE, *JURISDICTIONS],
        required=is_required,
        default="",
        help="Where all data of the tenant stays." + ("" if is_required else f" Default: {default}."),
    )
    parser.add_argument(
        "--location",
        choices=list(LOCATIONS),
        default="",
        help="A hint: near which place Cloudflare makes the tenant's Durable Object.",
    )


def named_place(options):
    """Return the Place that a command's options name, or None.

    Raises WrongPlace.
    """
    jurisdiction, location = options["jurisdiction"], options["location"]
    return place_of(jurisdiction, location) if jurisdiction or location else None
