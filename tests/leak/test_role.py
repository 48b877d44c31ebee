"""What the roles of the leak test share."""

from __future__ import annotations

import pytest

from tests.leak.role import beside, in_threads


def breaks(_):
    raise KeyError("a page had no form")


def test_a_thread_that_ends_by_an_error_ends_its_role_by_it():
    with pytest.raises(KeyError, match="a page had no form"):
        in_threads(2, breaks)


def test_what_makes_the_faults_does_not_end_by_an_error_unseen():
    with pytest.raises(KeyError, match="a page had no form"), beside(breaks):
        pass
