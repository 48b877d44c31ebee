"""The site's people and tenants, and clients of them at the inspection's pages."""

import pytest

from tests.browser import chromium, open_page, server  # noqa: F401 - fixtures
from tests.site.conftest import sign_in, site, site_rows, write_post  # noqa: F401 - fixtures


@pytest.fixture
def root(sign_in):  # noqa: F811 - a fixture's name
    return sign_in("root")


@pytest.fixture
def staff(site, sign_in):  # noqa: F811 - a fixture's name
    """Make a client of a staff user who has the permissions named, "app.codename"."""
    from django.contrib.auth.models import Permission

    from accounts.models import User

    def make(*permissions):
        user = User.objects.create_user("sam", password="a-pass-word", name="Sam", is_staff=True)
        for name in permissions:
            app, codename = name.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        site.sam = user
        return sign_in("sam")

    yield make
    site.sam.user_permissions.clear()


@pytest.fixture
def scratch(site):  # noqa: F811 - a fixture's name
    """Makes tables in acme's object that no model knows; takes them away again."""
    from do_bridge.inspection.inspected import Inspected

    made = []

    def make(*statements):
        with Inspected("acme").connect(10) as connection:
            connection.execute_batch([(sql, None) for sql in statements])
        made.extend(sql.split('"')[1] for sql in statements if sql.startswith("CREATE TABLE"))

    yield make
    with Inspected("acme").connect(10) as connection:
        connection.execute_batch([(f'DROP TABLE IF EXISTS "{name}"', None) for name in reversed(made)])
