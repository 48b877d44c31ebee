"""Connects the receiver."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.applications.tenants.shop"

    def ready(self):
        from tests.applications.tenants.shop import joining  # noqa: F401 - it connects the receiver
