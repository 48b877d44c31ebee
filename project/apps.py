"""The app config of the site, which registers its system checks."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self):
        from project import checks  # noqa: F401  (registers them)
