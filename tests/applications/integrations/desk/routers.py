"""Sends the queue of tasks to the database that QUEUE_ALIAS names."""

from django.conf import settings


class QueueRouter:
    def db_for_read(self, model, **hints):
        return settings.QUEUE_ALIAS if model._meta.app_label == "do_bridge_tasks" else None

    db_for_write = db_for_read
