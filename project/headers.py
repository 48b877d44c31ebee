"""Sends the headers that Django has no setting for: what a page may load and use of the browser."""

from django.conf import settings

from .middleware import Middleware

# Whatever a page of this site never asks for is not to be asked for by what somebody smuggled into it.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


def content_security_policy(form_targets):
    """Return the policy: everything from this site alone, nothing inline, and no frame around a page.

    form_targets: other sites that a form may lead to, in the policy's own writing ("https://*.blog.example").
    """
    parts = {
        "default-src": ["'none'"],
        **dict.fromkeys(("script-src", "style-src", "connect-src", "font-src", "manifest-src"), ["'self'"]),
        "img-src": ["'self'", "data:"],
        "form-action": ["'self'", *form_targets],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in parts.items())


class HeadersMiddleware(Middleware):
    """Adds the headers to every answer that does not bring its own.

    Without a policy while DEBUG is on: Django's own page about an exception is all inline.
    """

    def after(self, response):
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        if not settings.DEBUG:
            policy = content_security_policy(settings.CSP_FORM_TARGETS)
            response.headers.setdefault("Content-Security-Policy", policy)
        return response
