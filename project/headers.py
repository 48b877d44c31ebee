"""The headers Permissions-Policy and Content-Security-Policy."""

from django.conf import settings

from .middleware import Middleware

# The site uses none of these, so injected content must not get them either.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


def content_security_policy(form_targets):
    """Return the policy, which allows only this site and nothing inline.

    No other site may show a page in a frame. form_targets: other sites that a form may lead to, as the policy
    writes them ("https://*.blog.example").
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
    """Add the headers to every response that does not bring its own.

    Without a policy while DEBUG is on, because Django's own error page is all inline.
    """

    def after(self, response):
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        if not settings.DEBUG:
            policy = content_security_policy(settings.CSP_FORM_TARGETS)
            response.headers.setdefault("Content-Security-Policy", policy)
        return response
