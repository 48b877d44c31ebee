"""django CMS as its quickstart has it: versions, aliases, texts, files."""

from pathlib import Path

from site_common import *  # noqa: F403
from site_common import DJANGO_APPS, DJANGO_MIDDLEWARE, database, templates

HERE = Path(__file__).resolve().parent
INSTALLED_APPS = [
    *DJANGO_APPS,
    "django.contrib.sites",
    "site_cms",
    "cms",
    "menus",
    "treebeard",
    "sekizai",
    "parler",
    "easy_thumbnails",
    "filer",
    "djangocms_text",
    "djangocms_versioning",
    "djangocms_alias",
]
MIDDLEWARE = [
    *DJANGO_MIDDLEWARE,
    "django.middleware.locale.LocaleMiddleware",
    "cms.middleware.user.CurrentUserMiddleware",
    "cms.middleware.page.CurrentPageMiddleware",
    "cms.middleware.toolbar.ToolbarMiddleware",
    "cms.middleware.language.LanguageCookieMiddleware",
]
TEMPLATES = templates(
    HERE,
    "django.template.context_processors.i18n",
    "django.template.context_processors.media",
    "django.template.context_processors.static",
    "sekizai.context_processors.sekizai",
    "cms.context_processors.cms_settings",
)
ROOT_URLCONF = "site_cms.urls"
DATABASES = {"default": database("cms")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SITE_ID = 1
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "German")]
CMS_CONFIRM_VERSION4 = True
CMS_PERMISSION = True
CMS_TEMPLATES = [("site_cms/page.html", "Page"), ("site_cms/wide.html", "Wide")]
THUMBNAIL_HIGH_RESOLUTION = True
X_FRAME_OPTIONS = "SAMEORIGIN"
