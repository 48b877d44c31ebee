"""Settings of the site without the app `do_bridge.inspection`, on a D1 database of its own."""

from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "do_bridge.inspection"]
DATABASES["default"]["NAME"] = "d0b41d9e-0000-4000-8000-000000000002"
