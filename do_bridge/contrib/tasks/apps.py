"""The app config of do_bridge.contrib.tasks."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Add the table of queued tasks to the shared database."""

    name = "do_bridge.contrib.tasks"
    label = "do_bridge_tasks"
    verbose_name = "Background tasks"
    default_auto_field = "django.db.models.BigAutoField"
