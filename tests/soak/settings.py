"""The site as it is served, but for passwords that cost nothing, and with the pages of the leak test."""

from project.settings import *  # noqa: F403

TENANT_URLCONF = "tests.leak.site_urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
