"""What Django's own tests expect of every settings module, and which slot this is."""

import os

from django import VERSION
from django.core.management.commands import loaddata as stock_loaddata

from do_bridge.management.commands.loaddata import Command as LoaddataCommand

SLOT = int(os.environ.get("DJSUITE_SLOT", "0")) + int(os.environ.get("DJSUITE_FIRST_SLOT", "0"))
RELAY_URL = os.environ["RELAY_URL"]
RELAY_TOKEN = os.environ["RELAY_TOKEN"]
ALIASES = ("default", "other")  # the labels about several databases write to both

SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
# Django's own flush after each test would take hours, and would lose rows that the tests expect.
TEST_RUNNER = "do_bridge.testing.TestRunner"
DO_BRIDGE = {"RESTORE_TEST_ROWS": True, "TEST_RELAY": "configured"}
if VERSION < (6, 0):
    # As Django's own settings for its tests had it then.
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

# The suite's projects install none of do_bridge's apps, whose commands would be found by themselves.
stock_loaddata.Command = LoaddataCommand
