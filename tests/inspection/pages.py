"""What the tests of the inspection's pages share: where the pages are, and what they say."""

import re

LOOK = "do_bridge.view_tenantstate"
ACME = "/admin/databases/tenant/acme/"
D1 = "/admin/databases/shared/"


def text(response):
    return response.content.decode()


def plain(response):
    """Return what a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", text(response)).split())
