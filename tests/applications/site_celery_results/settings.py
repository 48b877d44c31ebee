"""A project with celery whose results go to the database."""

from pathlib import Path

from site_common import *  # noqa: F403
from site_common import DJANGO_APPS, DJANGO_MIDDLEWARE, database, templates

HERE = Path(__file__).resolve().parent
INSTALLED_APPS = [*DJANGO_APPS, "django_celery_results"]
MIDDLEWARE = DJANGO_MIDDLEWARE
TEMPLATES = templates(HERE)
ROOT_URLCONF = "site_celery_results.urls"
DATABASES = {"default": database("celery-results")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

CELERY_RESULT_BACKEND = "django-db"
CELERY_BROKER_URL = "memory://"
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_STORE_EAGER_RESULT = True
CELERY_RESULT_EXTENDED = True
CELERY_TASK_TRACK_STARTED = True
CELERY_RESULT_EXPIRES = 3600
