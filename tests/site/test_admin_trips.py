"""An admin list takes at most two trips more than the same page makes queries on Django's own sqlite3."""

import json
import os
from pathlib import Path

import pytest

from tests import forking

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def stock():
    """{"users": n, "posts": n}: the queries of Django's admin on sqlite3."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
    done = forking.run([HERE / "stock_admin.py"], env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "page"), [("users", "/admin/accounts/user/"), ("posts", "/t/acme/admin/blog/post/")]
)
def test_an_admin_list_takes_at_most_two_trips_more_than_on_sqlite3(
    name, page, stock, sign_in, write_post, count_trips
):
    for number in range(30):
        write_post(title=f"Post {number}")
    root = sign_in("root")
    assert root.get(page).status_code == 200
    with count_trips() as trips:
        assert root.get(page).status_code == 200
    assert 1 <= trips.count <= stock[name] + 2
