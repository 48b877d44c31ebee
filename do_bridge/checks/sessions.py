"""System checks of `do_bridge.contrib.sessions`."""

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Warning, register
from django.utils.module_loading import import_string

APP = "do_bridge.contrib.sessions"
ENGINE = f"{APP}.backend"
MIDDLEWARE = f"{APP}.middleware.AuthenticationMiddleware"


@register()
def check_sessions(app_configs=None, **kwargs):
    """Check that the session engine has its app and its middleware.

    A missing app is an error. A missing middleware is a warning.
    """
    if settings.SESSION_ENGINE != ENGINE:
        return []
    if not apps.is_installed(APP):
        return [
            Error(
                f"SESSION_ENGINE is {ENGINE!r}, but its app is not installed, so sessions have no table.",
                hint=f"Add {APP!r} to INSTALLED_APPS, and run `manage.py migrate`.",
                id="do_bridge.E018",
            )
        ]
    if any(_is_ours(path) for path in settings.MIDDLEWARE):
        return []
    return [
        Warning(
            "SESSION_ENGINE reads the user together with the session, but MIDDLEWARE has no "
            "AuthenticationMiddleware that uses the row, so request.user takes another round trip.",
            hint=f"Replace Django's AuthenticationMiddleware with {MIDDLEWARE!r}.",
            id="do_bridge.W014",
        )
    ]


def _is_ours(path):
    found = import_string(path)
    return isinstance(found, type) and issubclass(found, import_string(MIDDLEWARE))
