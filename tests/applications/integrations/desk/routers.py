"""Sends the queue of tasks to the database that QUEUE_ALIAS names."""

from django.conf import settings

QUEUES = ("do_bridge_tasks", "django_tasks_database", "django_tasks_db")


class QueueRouter:
    def db_for_read(self, model, **hints):
        return settings.QUEUE_ALIAS if model._meta.app_label in QUEUES else None

    db_for_write = db_for_read
