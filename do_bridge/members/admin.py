"""A mixin for the admins of users and memberships on D1's admin site."""

from django.contrib import messages
from django.http import HttpResponseRedirect
from django.urls import reverse

from .syncing import CopyFailed


class CopyWarningMixin:
    """Show a message if a change could not be copied into a tenant's database."""

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        return self._warned(request, super().changeform_view, object_id, form_url, extra_context)

    def delete_view(self, request, object_id, extra_context=None):
        return self._warned(request, super().delete_view, object_id, extra_context)

    def changelist_view(self, request, extra_context=None):
        return self._warned(request, super().changelist_view, extra_context)

    def _warned(self, request, view, *args):
        try:
            return view(request, *args)
        except CopyFailed as exc:
            self.message_user(request, str(exc), messages.ERROR)
            opts = self.model._meta
            return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))
