"""The storage of docs/howto/third-party.md."""

from storages.backends.s3 import S3Storage

from do_bridge.contrib.storage import TenantStorageMixin


class TenantS3Storage(TenantStorageMixin, S3Storage):
    """Files in a bucket, a folder for each tenant."""
