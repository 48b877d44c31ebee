"""The site's settings with the two apps that the attacks work on."""

from project.settings import *  # noqa: F403
from project.settings import DATABASES
from project.settings import DO_BRIDGE as _OWN
from project.settings import INSTALLED_APPS as _SITE

DATABASES["default"]["OPTIONS"]["transactions"] = "optimistic"
INSTALLED_APPS = [*_SITE, "tests.torture.bank", "tests.torture.yard"]
# What a killed client leaves is soon anybody's.
DO_BRIDGE = {**_OWN, "LEASE_SECONDS": 2}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
