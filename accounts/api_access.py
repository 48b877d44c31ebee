"""The authentication of API callers.

A browser has its session and CSRF token, a program has a bearer token.
"""

from functools import wraps

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from accounts import tokens

_SCHEME = "bearer "


def refusal(status, message, **headers):
    """Return an error as the API's JSON."""
    return JsonResponse({"error": message}, status=status, headers=headers)


def api_view(*methods):
    """Decorate a view of the API that takes these methods.

    A request with a bearer token acts as the token's user, whatever cookies it has, and needs no CSRF token.
    Any other request needs one, unless it only reads.
    """

    def decorate(view):
        by_session = csrf_protect(view)

        @csrf_exempt
        @wraps(view)
        def guarded(request, *args, **kwargs):
            if request.method not in methods:
                allowed = ", ".join(methods)
                return refusal(405, f"This address takes {allowed}.", Allow=allowed)
            header = request.headers.get("Authorization", "")
            if not header:
                return by_session(request, *args, **kwargs)
            user = tokens.user_of(header[len(_SCHEME) :].strip()) if is_bearer(header) else None
            if user is None:
                return refusal(
                    401,
                    "The token is unknown or was revoked. Send the header Authorization: Bearer <token>.",
                    **{"WWW-Authenticate": "Bearer"},
                )
            request.user = user
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def is_bearer(header):
    """Return whether an Authorization header has a bearer token in ASCII."""
    return header.isascii() and header.lower().startswith(_SCHEME) and len(header) < 500
