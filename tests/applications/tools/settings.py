"""The demo site with django-dbbackup, and with storages in a local S3 server."""

import os

from do_bridge.contrib.storage import TenantStorageMixin  # noqa: F401
from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "dbbackup"]
_S3 = {
    "endpoint_url": os.environ["S3_URL"],
    "access_key": "testing",
    "secret_key": "testing",
    "region_name": "us-east-1",
    "addressing_style": "path",
}
STORAGES = {
    **STORAGES,
    "default": {
        "BACKEND": "tests.applications.tools.storages.TenantS3Storage",
        "OPTIONS": {**_S3, "bucket_name": "media", "file_overwrite": False},
    },
    "backups": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {**_S3, "bucket_name": "backups"},
    },
    "dbbackup": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": "dbbackup"},
    },
}
DBBACKUP_CONNECTOR_MAPPING = {
    "do_bridge.backends.d1": "do_bridge.contrib.dbbackup.DumpConnector",
    "do_bridge.backends.durable_object": "do_bridge.contrib.dbbackup.DumpConnector",
}
DBBACKUP_DATABASES = ["default"]
