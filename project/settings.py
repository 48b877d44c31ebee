"""Settings of the site, read from the environment and, if it exists, from `.env`."""

import os
import re
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from do_bridge import TenantDatabases

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=False)
# Secrets are read unchanged: for a value that begins with "$" django-environ would look up the variable of
# that name.
SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is empty. Set it to a long random text.")
ALLOWED_HOSTS = [host.strip() for host in env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])]
CSRF_TRUSTED_ORIGINS = [origin.strip() for origin in env.list("CSRF_TRUSTED_ORIGINS", default=[])]

# "blog.example" serves tenant acme at acme.blog.example too; empty: at /t/acme/ alone.
TENANT_DOMAIN = env("TENANT_DOMAIN", default="")
if not re.fullmatch(r"([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*(:[0-9]+)?)?", TENANT_DOMAIN):
    # Browsers would refuse the cookies with this name as their domain, so no user could log in.
    raise ImproperlyConfigured(
        f"TENANT_DOMAIN is {TENANT_DOMAIN!r}. Set it to a domain name such as blog.example."
    )
# The token for POST /api/migrate; empty: the page does not exist.
MIGRATE_TOKEN = os.environ.get("MIGRATE_TOKEN", "")

INSTALLED_APPS = [
    # Before Django's own, so that its commands and its admin templates win.
    "do_bridge",
    "do_bridge.members",
    "do_bridge.contrib.sessions",
    "do_bridge.inspection",
    "project.admin_config.DirectoryAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "project",
    "accounts",
    "blog",
]

MIDDLEWARE = [
    # First, because it answers the host's own requests, whatever Host and scheme they come with.
    "project.health.HealthMiddleware",
    # Before everything that reads D1; without D1_REPLICAS it takes itself out.
    "do_bridge.contrib.replicas.ReplicaMiddleware",
    "project.headers.HeadersMiddleware",
    "project.api_errors.ApiErrorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "project.middleware.Utf8Middleware",
    # Before everything that makes a URL: inside it the script name ends with /t/<slug>.
    "do_bridge.tenancy.middleware.TenantMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    # Django's, without a statement for the user.
    "do_bridge.contrib.sessions.middleware.AuthenticationMiddleware",
    # Inside a tenant request.user is the copy in its object.
    "do_bridge.members.middleware.TenantUserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "project.context_processors.tenant",
            ],
        },
    },
]

RELAY_URL = env("RELAY_URL", default="")
# The jurisdiction in which tenants' objects are; a relay that was deployed with it serves no others.
RELAY_JURISDICTION = env("RELAY_JURISDICTION", default="")
RELAY_TOKEN = os.environ.get("RELAY_TOKEN", "")
# Tokens for one kind of database each; a host that has both needs no RELAY_TOKEN.
RELAY_TOKEN_TENANTS = os.environ.get("RELAY_TOKEN_TENANTS", "") or RELAY_TOKEN
RELAY_TOKEN_DIRECTORY = os.environ.get("RELAY_TOKEN_DIRECTORY", "") or RELAY_TOKEN
if RELAY_URL and not (RELAY_TOKEN_TENANTS and RELAY_TOKEN_DIRECTORY):
    raise ImproperlyConfigured(
        "RELAY_URL is set and RELAY_TOKEN is not. Set RELAY_TOKEN to the value of the Worker's secret."
    )

# The relay once there is one: Cloudflare's API allows four calls a second for a whole account.
D1_TRANSPORT = env("D1_TRANSPORT", default="") or ("relay" if RELAY_URL else "rest")
if D1_TRANSPORT not in ("relay", "rest"):
    raise ImproperlyConfigured(f"D1_TRANSPORT is {D1_TRANSPORT!r}. Set it to 'relay' or 'rest'.")
if D1_TRANSPORT == "relay" and not RELAY_URL:
    raise ImproperlyConfigured(
        "D1_TRANSPORT is 'relay', but RELAY_URL is empty. Set RELAY_URL to the address of the Worker."
    )
_rest = D1_TRANSPORT == "rest"
# "optimistic" gives D1 real transactions; docs/explanation/transactions.md says what they cost.
D1_TRANSACTIONS = env("D1_TRANSACTIONS", default="") or "none"
if D1_TRANSACTIONS not in ("none", "optimistic"):
    raise ImproperlyConfigured(f"D1_TRANSACTIONS is {D1_TRANSACTIONS!r}. Set it to 'none' or 'optimistic'.")
# Reads of D1's shared pages from the replica that is nearest to the relay.
D1_REPLICAS = env.bool("D1_REPLICAS", default=False)
if D1_REPLICAS and _rest:
    raise ImproperlyConfigured(
        "D1_REPLICAS is on, but D1_TRANSPORT is 'rest', over which D1 has no sessions. Set RELAY_URL."
    )
CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"

DATABASE_ID = env("CLOUDFLARE_DATABASE_ID")
if not DATABASE_ID:
    raise ImproperlyConfigured("CLOUDFLARE_DATABASE_ID is empty. Set it to the id of the D1 database.")

DATABASES = TenantDatabases(
    {
        "default": {
            "ENGINE": "do_bridge.backends.d1",
            "NAME": DATABASE_ID,
            "HOST": (env("D1_API_BASE", default="") or CLOUDFLARE_API) if _rest else RELAY_URL,
            "PASSWORD": env("CLOUDFLARE_D1_TOKEN") if _rest else RELAY_TOKEN_DIRECTORY,
            "OPTIONS": {
                "transport": D1_TRANSPORT,
                "account_id": env("CLOUDFLARE_ACCOUNT_ID", default="") or None,
                "timeout": 30,
                "transactions": D1_TRANSACTIONS,
                "replicas": D1_REPLICAS,
            },
            "TEST": {"NAME": env("D1_TEST_DATABASE_ID", default="") or None},
        },
        "tenant": {
            "ENGINE": "do_bridge.backends.durable_object",
            "NAME": "",
            "HOST": RELAY_URL,
            "PASSWORD": RELAY_TOKEN_TENANTS,
            "OPTIONS": {"timeout": 30, "lease": 10, "jurisdiction": RELAY_JURISDICTION or None},
        },
    }
)
DATABASE_ROUTERS = [
    "do_bridge.tenancy.routers.TenantRouter",
    "do_bridge.tenancy.routers.DirectoryRouter",
]

# In each process's own memory. Sessions belong to the shared site, and stay in D1.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # One store, keys by tenant.
        "KEY_FUNCTION": "do_bridge.contrib.cache.tenant_key",
    },
}

DO_BRIDGE = {
    "TENANT_MODELS": ("blog",),
    "TENANT_MODEL": "accounts.Tenant",
    "JURISDICTION_FIELD": "jurisdiction",
    "LOCATION_FIELD": "location",
    "TENANT_URLCONF": "project.tenant_urls",
    "TENANT_DOMAIN": TENANT_DOMAIN,
    "MEMBERSHIP_MODEL": "accounts.Membership",
    # The package's own list, with what decides who an API token is and who may try to sign in again.
    "PRIMARY_MODELS": (
        "AUTH_USER_MODEL",
        "auth.Group",
        "auth.Permission",
        "do_bridge_sessions.Session",
        "TENANT_MODEL",
        "MEMBERSHIP_MODEL",
        "accounts.ApiToken",
        "accounts.SignInFailure",
    ),
    "MEMBER_FIELDS": ("username", "name", "first_name", "last_name", "is_active"),
    "USAGE": env.bool("COUNT_USAGE", default=True),
}

AUTH_USER_MODEL = "accounts.User"
# Django's own, which slows down password guessing.
AUTHENTICATION_BACKENDS = ["accounts.throttle.ThrottledBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Names, not paths: inside a tenant they stay inside it.
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

LANGUAGE_CODE = "en"
TIME_ZONE = env("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

# Absolute, so that a tenant's script name does not come before it.
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# Serves the apps' own files if nobody has run collectstatic.
WHITENOISE_USE_FINDERS = True

# Reads session and user in one round trip.
SESSION_ENGINE = "do_bridge.contrib.sessions.backend"
MESSAGE_STORAGE = "do_bridge.contrib.messages.TenantCookieStorage"
CSRF_FAILURE_VIEW = "project.views.csrf_failure"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSP_FORM_TARGETS = []
if TENANT_DOMAIN:
    # One login for the shared site and every tenant's subdomain.
    SESSION_COOKIE_DOMAIN = CSRF_COOKIE_DOMAIN = "." + TENANT_DOMAIN.partition(":")[0]
    # The switcher's form leads from one of them to another.
    CSP_FORM_TARGETS = [TENANT_DOMAIN, f"*.{TENANT_DOMAIN}"]

# HTTPS: on by default if DEBUG is off; SECURE=False for a local server without it.
SECURE = env.bool("SECURE", default=not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
if SECURE:
    # Browsers accept such a name over HTTPS alone, and __Host- from no other subdomain.
    _prefix = "__Secure-" if TENANT_DOMAIN else "__Host-"
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_prefix}sessionid", f"{_prefix}csrftoken"
SECURE_SSL_REDIRECT = SECURE
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
# How many proxies in front of the site add to X-Forwarded-For: needed to slow down password guessing.
PROXY_COUNT = env.int("PROXY_COUNT", default=1) if BEHIND_PROXY else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=3600 if SECURE else 0)
# The owner of the domain decides whether HTTPS covers all subdomains and browsers' lists.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"tenant": {"()": "do_bridge.contrib.logging.TenantFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s [%(tenant)s] %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["tenant"], "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO").upper()},
}
