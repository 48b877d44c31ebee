"""The app config of do_bridge.contrib.sessions."""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Sessions in a table with a column for the user."""

    name = "do_bridge.contrib.sessions"
    label = "do_bridge_sessions"
    verbose_name = "Sessions with users"
