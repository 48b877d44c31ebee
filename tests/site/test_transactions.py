"""Blocks on D1 as the demo has them."""

import pytest
from django.db import connection, transaction

from accounts.models import User
from project.serve import local_environment


def test_these_tests_run_in_the_mode_of_the_demo(local_worker):
    mode = connection.settings_dict["OPTIONS"]["transactions"]
    assert mode == local_environment(local_worker)["D1_TRANSACTIONS"] == "optimistic"


def test_a_block_of_the_site_that_fails_leaves_nothing_on_d1(site):
    with pytest.raises(ZeroDivisionError, match="undone"), transaction.atomic():
        User.objects.create(username="nobody")
        assert User.objects.filter(username="nobody").exists()
        raise ZeroDivisionError("undone")
    assert not User.objects.filter(username="nobody").exists()
