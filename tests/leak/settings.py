"""The site's settings, tightened so that tenants get into each other's way as often as possible."""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import DATABASES, DO_BRIDGE, MIDDLEWARE

# Far fewer than there are tenants: connections give way to each other all the time.
DO_BRIDGE = {**DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 6, "TENANT_CACHE_SIZE": 30}
# "timeout" and "lease" of those who are to run out of them.
DATABASES["tenant"]["OPTIONS"].update(json.loads(os.environ.get("LEAK_OPTIONS", "{}")))
TENANT_URLCONF = "tests.leak.site_urls"
# Made for strength, and so for slowness; what they protect is not tried here.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if os.environ.get("LEAK_PLANT") == "pages":
    MIDDLEWARE = [*MIDDLEWARE, "tests.leak.plants.RemembersPages"]
