"""A project with one model and its import screen; its database is one object, with the lease under test."""

import os
from pathlib import Path

from site_common import *  # noqa: F403
from site_common import DJANGO_APPS, DJANGO_MIDDLEWARE, database, templates

INSTALLED_APPS = [*DJANGO_APPS, "import_export", "import_screen"]
MIDDLEWARE = DJANGO_MIDDLEWARE
TEMPLATES = templates(Path(__file__).resolve().parent)
ROOT_URLCONF = "import_screen.urls"
DATABASES = {"default": database("imports")}
DATABASES["default"]["OPTIONS"]["lease"] = float(os.environ["IMPORT_LEASE"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
