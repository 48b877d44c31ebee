"""The middleware that takes `request.user` from the session's own row."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, load_backend, middleware
from django.contrib.auth.backends import ModelBackend
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Django's, but `request.user` takes no statement beside that for the session.

    Django handles the other cases: a user who is missing or may not sign in, a session that a change of the
    password or of SECRET_KEY has ended, an authentication backend that reads users itself.
    """

    def process_request(self, request: Any) -> None:
        super().process_request(request)
        request.user = SimpleLazyObject(partial(get_user, request))
        request.auser = partial(auser, request)


def get_user(request: Any) -> Any:
    """Return the user who is signed in, or AnonymousUser."""
    if not hasattr(request, "_cached_user"):
        request.session.get(SESSION_KEY)  # reads the session
        if (user := verified_user(request.session)) is not None:
            request._cached_user = user
    return middleware.get_user(request)


async def auser(request: Any) -> Any:
    """Return the user who is signed in, or AnonymousUser."""
    if not hasattr(request, "_acached_user"):
        await request.session.aget(SESSION_KEY)
        if (user := verified_user(request.session)) is not None:
            request._acached_user = user
    return await middleware.auser(request)


def verified_user(session: Any) -> Any:
    """Return the user read with the session, or None if Django would reject it.

    The session must have been read. As `django.contrib.auth.get_user()` does, this checks the authentication
    backend, whether it lets the user in, and the session's hash.
    """
    user = getattr(session, "user", None)
    path = session.get(BACKEND_SESSION_KEY)
    if (
        user is None
        or path not in settings.AUTHENTICATION_BACKENDS
        or session.get(SESSION_KEY) != user._meta.pk.value_to_string(user)
    ):
        return None
    backend = load_backend(path)
    if not _reads_users_plainly(type(backend)) or not backend.user_can_authenticate(user):
        return None
    if hasattr(user, "get_session_auth_hash") and not constant_time_compare(
        session.get(HASH_SESSION_KEY) or "", user.get_session_auth_hash()
    ):
        return None
    return user


def _reads_users_plainly(backend: type) -> bool:
    return (
        issubclass(backend, ModelBackend)
        and backend.get_user is ModelBackend.get_user
        and backend.aget_user is ModelBackend.aget_user
    )
