"""The login forms.

They report too many attempts but never reveal which names exist.
"""

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

CLOSED = "Too many attempts to log in. Wait a few minutes, and try again."


class ThrottledMixin:
    """Show a blocked login differently from a wrong password.

    It does so in the same way for names that do not exist.
    """

    def get_invalid_login_error(self):
        if getattr(self.request, "sign_in_closed", False):
            return ValidationError(CLOSED, code="closed")
        return super().get_invalid_login_error()


class SignInForm(ThrottledMixin, AuthenticationForm):
    """The login form of the shared site and of the tenants."""


class AdminSignInForm(ThrottledMixin, AdminAuthenticationForm):
    """The login form of both admin sites."""
