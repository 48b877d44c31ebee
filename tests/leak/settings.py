"""The site's settings, tightened so that tenants get into each other's way as often as possible."""

import json
import os
import sys
from copy import deepcopy

from project.settings import *  # noqa: F403
from project.settings import DATABASES, DO_BRIDGE, INSTALLED_APPS, MIDDLEWARE, TEMPLATES

# Far fewer than there are tenants: connections give way to each other all the time.
DO_BRIDGE = {
    **DO_BRIDGE,
    "TENANT_MODELS": (*DO_BRIDGE["TENANT_MODELS"], "shop"),
    "MAX_TENANT_CONNECTIONS": 6,
    "TENANT_CACHE_SIZE": 30,
}
INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework", "tests.leak.shop"]
TEMPLATES = deepcopy(TEMPLATES)
TEMPLATES[0]["OPTIONS"]["context_processors"].append("tests.leak.shop.context_processors.navigation")
# "timeout" and "lease" of those who are to run out of them.
DATABASES["tenant"]["OPTIONS"].update(json.loads(os.environ.get("LEAK_OPTIONS", "{}")))
TENANT_URLCONF = "tests.leak.urls"
DO_BRIDGE = {**DO_BRIDGE, "TENANT_URLCONF": TENANT_URLCONF}
# Made for strength, and so for slowness; what they protect is not tried here.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if os.environ.get("LEAK_PLANT") == "pages":
    MIDDLEWARE = [*MIDDLEWARE, "tests.leak.plants.RemembersPages"]
# Modules that are written while the site runs.
sys.path.append(os.environ.get("LEAK_FRESH", "."))
# Threads take turns 500 times as often as they would: what they share is seen half done.
sys.setswitchinterval(1e-5)
