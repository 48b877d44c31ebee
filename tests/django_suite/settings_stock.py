"""Django's own tests on its sqlite3 engine, which say what can pass."""

from django import VERSION

SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if VERSION < (6, 0):
    # As Django's own settings for its tests had it then.
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3"} for alias in ("default", "other")}
