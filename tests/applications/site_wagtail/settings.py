"""What Wagtail's project template has, with most of the modules that Wagtail brings."""

from pathlib import Path

from site_common import *  # noqa: F403
from site_common import DJANGO_APPS, DJANGO_MIDDLEWARE, database, templates

HERE = Path(__file__).resolve().parent
INSTALLED_APPS = [
    *DJANGO_APPS,
    "site_wagtail",
    "wagtail.contrib.forms",
    "wagtail.contrib.redirects",
    "wagtail.contrib.settings",
    "wagtail.contrib.search_promotions",
    "wagtail.contrib.routable_page",
    "wagtail.contrib.sitemaps",
    "wagtail.contrib.styleguide",
    "wagtail.contrib.table_block",
    "wagtail.contrib.simple_translation",
    "wagtail.api.v2",
    "wagtail.embeds",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.locales",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "rest_framework",
    "django_filters",
    "django.contrib.sitemaps",
]
MIDDLEWARE = [*DJANGO_MIDDLEWARE, "wagtail.contrib.redirects.middleware.RedirectMiddleware"]
TEMPLATES = templates(HERE, "wagtail.contrib.settings.context_processors.settings")
ROOT_URLCONF = "site_wagtail.urls"
DATABASES = {"default": database("wagtail")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LANGUAGES = WAGTAIL_CONTENT_LANGUAGES = [("en", "English"), ("de", "German")]
WAGTAIL_I18N_ENABLED = True

WAGTAIL_SITE_NAME = "The site"
WAGTAILADMIN_BASE_URL = "http://testserver"
WAGTAILSEARCH_BACKENDS = {"default": {"BACKEND": "wagtail.search.backends.database"}}
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_ENABLE_WHATS_NEW_BANNER = False
WAGTAILADMIN_COMMENTS_ENABLED = True
