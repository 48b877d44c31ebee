"""The app config of do_bridge.inspection."""

from django.apps import AppConfig


class InspectionConfig(AppConfig):
    """Add the pages about databases to the admin sites."""

    name = "do_bridge.inspection"
    label = "do_bridge_inspection"
    verbose_name = "Inspection of databases"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from django.apps import apps

        from . import checks  # noqa: F401 - it registers the system checks
        from .usage.writing import count_usage

        count_usage()
        # Without Django's admin there is no site to add pages to, and a check says so.
        if apps.is_installed("django.contrib.admin"):
            from do_bridge.admin.extensions import extend

            from .site import Pages

            extend(Pages())
