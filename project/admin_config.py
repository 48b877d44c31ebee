"""Puts the directory's admin, which shows D1, in the place of Django's default one."""

from django.contrib.admin.apps import AdminConfig


class DirectoryAdminConfig(AdminConfig):
    default_site = "do_bridge.admin.DirectoryAdminSite"
