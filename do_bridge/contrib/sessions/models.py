"""The table of sessions, with a column for the user."""

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


class Session(AbstractBaseSession):
    """A session, and the user who is signed in with it.

    The column only says which row to read together with the session. The signed session data decides who is
    signed in.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        # Deleting a user takes no statement here, and no page about it lists session keys.
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        related_name="+",
    )

    @classmethod
    def get_session_store_class(cls):
        from .backend import SessionStore

        return SessionStore
