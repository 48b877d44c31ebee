"""Tenants, and a queue for tasks in one of three databases; `QUEUE_ALIAS` names it."""

import json
import os
from importlib.util import find_spec

from do_bridge.tenancy import TenantDatabases

SECRET_KEY = "for-the-integrations-alone"
ALLOWED_HOSTS = ["*"]
DEBUG = False
USE_TZ = True
ROOT_URLCONF = "tests.applications.integrations.urls"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INTERNAL_IPS = ["127.0.0.1"]


def _d1(transactions):
    return {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": "00000000-0000-4000-8000-000000000000",
        "HOST": "http://localhost:1",  # the plugin's relay takes its place
        "PASSWORD": "none",
        "OPTIONS": {"transport": "relay", "transactions": transactions},
        "TEST": {"NAME": "00000000-0000-4000-8000-000000000001"},
    }


_OBJECT = {
    "ENGINE": "do_bridge.backends.durable_object",
    "HOST": "http://localhost:1",
    "PASSWORD": "none",
    "OPTIONS": {"lease": 25},
}
DATABASES = TenantDatabases(
    {
        "default": _d1("none"),
        "optimistic": _d1("optimistic"),
        "object": {**_OBJECT, "NAME": "queue"},
        "tenant": {**_OBJECT, "NAME": ""},
    }
)
QUEUE_ALIAS = os.environ.get("QUEUE_ALIAS", "default")
# A worker's process works on the databases of the tests that have started it.
for _alias, _values in json.loads(os.environ.get("INTEGRATION_DATABASES", "{}")).items():
    DATABASES[_alias].update(_values)
DATABASE_ROUTERS = [
    "tests.applications.integrations.desk.routers.QueueRouter",
    "do_bridge.tenancy.routers.TenantRouter",
    "do_bridge.tenancy.routers.DirectoryRouter",
]
_TOOLBAR = find_spec("debug_toolbar") is not None
_TASKS_DB = find_spec("django_tasks_db") is not None
SILENCED_SYSTEM_CHECKS = ["do_bridge.W011"]
INSTALLED_APPS = [
    "do_bridge",
    "do_bridge.contrib.tasks",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "tests.applications.integrations.desk",
    *(["debug_toolbar"] if _TOOLBAR else []),
    *(["django_tasks_db"] if _TASKS_DB else []),
]
MIDDLEWARE = [
    "do_bridge.contrib.server_timing.ServerTimingMiddleware",
    *(["debug_toolbar.middleware.DebugToolbarMiddleware"] if _TOOLBAR else []),
    "do_bridge.tenancy.middleware.TenantMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DEBUG_TOOLBAR_PANELS = ["do_bridge.contrib.debug_toolbar.RelayPanel"]
DEBUG_TOOLBAR_CONFIG = {
    "SHOW_TOOLBAR_CALLBACK": "tests.applications.integrations.urls.is_toolbar_shown",
    "IS_RUNNING_TESTS": False,
}
TASKS = {
    "default": {
        "BACKEND": "do_bridge.contrib.tasks.backend.TenantTaskBackend",
        "QUEUES": [],
        "OPTIONS": json.loads(os.environ.get("TASK_OPTIONS", "{}")),
    }
}
if _TASKS_DB:
    TASKS["db"] = {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "KEY_FUNCTION": "do_bridge.contrib.cache.tenant_key",
    }
}
DO_BRIDGE = {
    "TENANT_MODELS": ["desk.Note", "desk.Run", "desk.Result"],
    "TENANT_MODEL": "desk.Tenant",
    # A flush is one batch.
    "RESTORE_TEST_ROWS": True,
}
