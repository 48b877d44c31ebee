"""Settings that all projects share: one database, named by the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ENGINES = ("sqlite3", "d1", "durable_object")
FOLDER = Path(os.environ["APPLICATION_FOLDER"])
DATABASE_ID = "d0b41d9e-0000-4000-8000-000000000000"  # in worker/wrangler.jsonc

SECRET_KEY = "for-the-applications-alone"
ALLOWED_HOSTS = ["testserver"]
MEDIA_ROOT = FOLDER / "media"
MEDIA_URL = "/media/"
TIME_ZONE = "Europe/Berlin"
STATIC_URL = "/static/"
PASSWORD = "pbkdf2_sha256$1$salt$MadeByNobody="  # nobody logs in with it
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
# Each run has a cache of its own, with what it saw alone.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": FOLDER / "django.log"}},
    "root": {"handlers": ["file"], "level": "WARNING"},
}

# do_bridge is there on sqlite3 as well, so that content types and permissions have the same keys.
DJANGO_APPS = [
    "do_bridge",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
DJANGO_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DJANGO_PROCESSORS = [
    "django.template.context_processors.debug",
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]


def database(name: str) -> dict[str, Any]:
    """The database of the engine under test; `name` is the application's."""
    engine = os.environ["APPLICATION_ENGINE"]
    if engine == "sqlite3":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}
    return {
        "ENGINE": f"do_bridge.backends.{engine}",
        "NAME": DATABASE_ID if engine == "d1" else f"application-{name}",
        "HOST": os.environ["RELAY_URL"],
        "PASSWORD": os.environ["RELAY_TOKEN"],
        # A busy machine may need longer for a request than the default lets a transaction last.
        "OPTIONS": {"transport": "relay"} if engine == "d1" else {"lease": 25},
    }


def templates(folder: Path, *processors: str) -> list[dict[str, Any]]:
    """The setting TEMPLATES with a project's own folder and further context processors."""
    return [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [folder / "templates"],
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": [*DJANGO_PROCESSORS, *processors]},
        }
    ]
