"""What this process is for; importable while settings are read."""

import sys


def in_test_environment():
    """Return whether Django's test environment is set up in this process."""
    # Importing django.test takes a tenth of a command's start.
    test_utils = sys.modules.get("django.test.utils")
    return test_utils is not None and hasattr(test_utils._TestState, "saved_data")
