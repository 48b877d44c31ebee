"""Give RestoreRows to the test cases of a pytest session, if the setting is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django.test
import pytest_django.fixtures
from django.conf import settings
from django.test import TestCase, TransactionTestCase

from .rows import RestoreRows, is_setting_on, restoring


class _SkipClass:
    """A mixin that skips TestCase's set-up of the class, as pytest-django does.

    It calls super(TestCase, cls).
    """

    @classmethod
    def setUpClass(cls) -> None:
        super(TestCase, cls).setUpClass()  # type: ignore[misc]


class _TestCase(RestoreRows, _SkipClass, TestCase):
    pass


class _TransactionTestCase(RestoreRows, TransactionTestCase):
    pass


def require_fixture(name: str) -> None:
    """Raise RuntimeError if rows are to be restored and a fixture is missing.

    The fixture is pytest-django's.
    """
    if is_setting_on() and not hasattr(pytest_django.fixtures, name):
        raise RuntimeError(
            f"This version of pytest-django has no fixture {name}, so rows are not restored after tests. "
            "Install an older one, or set DO_BRIDGE['RESTORE_TEST_ROWS'] to False."
        )


@contextmanager
def restoring_cases() -> Iterator[None]:
    """Make pytest-django build its test case on one that restores rows.

    It applies to a test case that is built in this block.
    """
    if not is_setting_on():
        yield
        return
    before = django.test.TestCase, django.test.TransactionTestCase
    django.test.TestCase, django.test.TransactionTestCase = _TestCase, _TransactionTestCase
    try:
        yield
    finally:
        django.test.TestCase, django.test.TransactionTestCase = before


def restore_class(node: Any) -> None:
    """Mix RestoreRows into the test case that a collected class is."""
    is_case = isinstance(node.obj, type) and issubclass(node.obj, TransactionTestCase)
    if is_case and settings.configured and is_setting_on():
        node.obj = restoring(node.obj)
