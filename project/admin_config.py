"""Replace Django's default admin site with the one that shows D1."""

from django.contrib.admin.apps import AdminConfig


class DirectoryAdminConfig(AdminConfig):
    default_site = "do_bridge.admin.DirectoryAdminSite"
