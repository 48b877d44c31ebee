"""What Django's own tests expect of every settings module, and which slot this is."""

import os

SLOT = int(os.environ.get("DJSUITE_SLOT", "0")) + int(os.environ.get("DJSUITE_FIRST_SLOT", "0"))
RELAY_URL = os.environ["RELAY_URL"]
RELAY_TOKEN = os.environ["RELAY_TOKEN"]
ALIASES = ("default", "other")  # the labels about several databases write to both

SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
