"""The app config of do_bridge.members."""

from django.apps import AppConfig

from do_bridge.tenancy.databases import tenant_databases


class MembersConfig(AppConfig):
    """Keep copies of users in the tenants' Durable Objects up to date.

    Does nothing in a project without tenants.
    """

    name = "do_bridge.members"
    label = "do_bridge_members"
    verbose_name = "Copies of members"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from . import checks  # noqa: F401 - it registers the system checks

        if tenant_databases() is None or not checks.is_configured():
            return
        from . import watching

        watching.watch()
