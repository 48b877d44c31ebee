"""The session engine: set SESSION_ENGINE to "do_bridge.contrib.sessions.backend"."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends import db
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models.manager import BaseManager
from django.utils import timezone


class SessionStore(db.SessionStore):
    """Database sessions that are read together with their users.

    In all else they are Django's own. After the session was read, ``user`` is the row of the user whom its
    column names, or None. It is not verified; `do_bridge.contrib.sessions.middleware` does that.
    """

    user: Any = None

    @classmethod
    def get_model_class(cls) -> Any:
        from .models import Session

        return Session

    def load(self) -> dict[str, Any]:
        return self._open(next(iter(self._rows()), None))

    async def aload(self) -> dict[str, Any]:
        return self._open(await anext(aiter(self._rows()), None))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row = super().create_model_instance(data)
        row.user_id = _user_key(data)
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        row = await super().acreate_model_instance(data)
        row.user_id = _user_key(data)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = self.session_key if session_key is None else session_key
        if key is not None:
            # One statement, where Django's reads the row first.
            self.model(session_key=key).delete()

    async def adelete(self, session_key: str | None = None) -> None:
        key = self.session_key if session_key is None else session_key
        if key is not None:
            await self.model(session_key=key).adelete()

    def _rows(self) -> Any:
        rows = self.model.objects.filter(session_key=self.session_key, expire_date__gt=timezone.now())
        return rows.select_related("user") if _can_join(self.model) else rows

    def _open(self, row: Any) -> dict[str, Any]:
        if row is None:
            self._session_key = None
            return {}
        # Without the join nothing is cached, and reading the attribute would be a query.
        self.user = row.user if self.model.user.is_cached(row) else None
        return self.decode(row.session_data)  # type: ignore[no-any-return]


def _can_join(session_model: Any) -> bool:
    """Return whether a join finds what the default manager of users finds."""
    user_model = get_user_model()
    manager = type(user_model._default_manager)
    # Tenants' guards are a subclass of the manager's own class.
    manager = getattr(manager, "do_bridge_base", manager)
    return (
        # A manager may hide users, and a hidden user can't sign in.
        manager.get_queryset is BaseManager.get_queryset
        and router.db_for_read(user_model) == router.db_for_read(session_model)
    )


def _user_key(data: dict[str, Any]) -> Any:
    try:
        return get_user_model()._meta.pk.to_python(data.get(SESSION_KEY))
    except ValidationError:
        return None
