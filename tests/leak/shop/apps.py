"""Names the application, whose package is not at the top level."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.leak.shop"
    default_auto_field = "django.db.models.BigAutoField"
