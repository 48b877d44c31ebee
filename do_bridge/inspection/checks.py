"""The system check of the apps that the inspection stands on."""

from django.apps import apps
from django.core.checks import Error, register

NEEDED = ("do_bridge", "django.contrib.admin")


@register()
def check_apps(app_configs=None, **kwargs):
    """Report apps without which the pages do not exist or cannot be shown."""
    return [
        Error(
            f"The app do_bridge.inspection is installed, and {name} is not.",
            hint=f"Add {name!r} to INSTALLED_APPS before 'do_bridge.inspection', or remove that app.",
            id="do_bridge.E019",
        )
        for name in NEEDED
        if not apps.is_installed(name)
    ]
