"""The site as it is served, but for passwords that cost nothing, and with the pages of the leak test."""

from project.settings import *  # noqa: F403
from project.settings import DO_BRIDGE

TENANT_URLCONF = "tests.leak.site_urls"
DO_BRIDGE = {**DO_BRIDGE, "TENANT_URLCONF": TENANT_URLCONF}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
