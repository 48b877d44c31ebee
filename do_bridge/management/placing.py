"""The options of the commands that make or move tenants in a place."""

from do_bridge.driver.places import JURISDICTIONS, LOCATIONS
from do_bridge.tenancy.places import NONE


def add_place_arguments(parser, *, is_required=False):
    """Add `--jurisdiction` and `--location` to a command."""
    parser.add_argument(
        "--jurisdiction",
        choices=[NONE, *JURISDICTIONS],
        required=is_required,
        default="",
        help="Where all data of the tenant stays. Default: OPTIONS['jurisdiction'] of the tenants' template.",
    )
    parser.add_argument(
        "--location",
        choices=list(LOCATIONS),
        default="",
        help="A hint: near which place Cloudflare makes the tenant's Durable Object.",
    )
