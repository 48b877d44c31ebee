"""A project whose tenants have other people's applications; NOTES_TOKENS says where the tokens are."""

import os

from do_bridge.tenancy import TenantDatabases

HOST, TOKEN = os.environ["RELAY_URL"], os.environ["RELAY_TOKEN"]
TOKENS = os.environ.get("NOTES_TOKENS", "tenant")
SECRET_KEY = "for-the-applications-alone"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.applications.tenants.directory_urls"
USE_TZ = True
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = TenantDatabases(
    {
        "default": {
            "ENGINE": "do_bridge.backends.d1",
            "NAME": "d0b41d9e-0000-4000-8000-000000000000",
            "HOST": HOST,
            "PASSWORD": TOKEN,
            "OPTIONS": {"transport": "relay"},
        },
        "tenant": {
            "ENGINE": "do_bridge.backends.durable_object",
            "NAME": "",
            "HOST": HOST,
            "PASSWORD": TOKEN,
            # A busy machine may need longer for a request than the default lets a transaction last.
            "OPTIONS": {"lease": 25},
        },
    }
)
DATABASE_ROUTERS = ["do_bridge.tenancy.routers.TenantRouter", "do_bridge.tenancy.routers.DirectoryRouter"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "KEY_FUNCTION": "do_bridge.contrib.cache.tenant_key",
    }
}
INSTALLED_APPS = [
    "do_bridge",
    "do_bridge.members",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "tests.applications.tenants.people",
    "tests.applications.tenants.notes",
    "taggit",
    "simple_history",
    "reversion",
    "rest_framework",
    "rest_framework.authtoken",
]
MIDDLEWARE = [
    "do_bridge.tenancy.middleware.TenantMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "do_bridge.members.middleware.TenantUserMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "reversion.middleware.RevisionMiddleware",
]
DO_BRIDGE = {
    "TENANT_MODELS": ["notes", "taggit", "reversion", *(["authtoken"] if TOKENS == "tenant" else [])],
    "TENANT_MODEL": "people.Tenant",
    "TENANT_URLCONF": "tests.applications.tenants.notes.views",
    "MEMBERSHIP_MODEL": "people.Membership",
}
