"""The forms of all sign-ins: they say when attempts have been too many, and never which names exist."""

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

CLOSED = "Too many attempts to sign in. Wait a few minutes, and try again."


class ThrottledMixin:
    """Tells a closed door from a wrong password; both are the same for names that nobody has."""

    def get_invalid_login_error(self):
        if getattr(self.request, "sign_in_closed", False):
            return ValidationError(CLOSED, code="closed")
        return super().get_invalid_login_error()


class SignInForm(ThrottledMixin, AuthenticationForm):
    """The site's and the tenants'."""


class AdminSignInForm(ThrottledMixin, AdminAuthenticationForm):
    """Both admins'."""
