"""What this process is for; importable while settings are read."""

from django.test import utils as test_utils


def in_test_environment():
    """Return whether Django's test environment is set up in this process."""
    return hasattr(test_utils._TestState, "saved_data")
