"""Pages for 403 and 404 that look like the admin and name the missing permission."""

from functools import wraps

from django.apps import apps
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import render
from django.urls import Resolver404, resolve

# The ends of the URL names of a model's pages, and the permission that each needs.
_NEEDED = {"changelist": "view", "add": "add", "change": "change", "delete": "delete", "history": "view"}


class PermissionMissing(PermissionDenied):
    """The user lacks `permissions`, each "app.codename"; the page names them."""

    def __init__(self, *permissions):
        super().__init__(*permissions)
        self.permissions = permissions


def inside_admin(site, view):
    """Return `view` with 403 and 404 pages that look like the admin's."""

    @wraps(view)
    def inside(request, *args, **kwargs):
        try:
            return view(request, *args, **kwargs)
        except (Http404, PermissionDenied) as error:
            is_missing = isinstance(error, Http404)
            # While DEBUG is on, Django's own page about a 404 helps more.
            if not site.has_permission(request) or (is_missing and settings.DEBUG):
                raise
            title = "Page not found" if is_missing else "Not allowed"
            context = {**site.each_context(request), "title": title, "is_missing": is_missing}
            context["permissions"] = () if is_missing else _missing(request, error)
            request.current_app = site.name
            status = 404 if is_missing else 403
            return render(request, "do_bridge/refused.html", context, status=status)

    return inside


def _missing(request, error):
    """Return the permissions that the user lacks.

    The exception names them, or else the URL, if it is that of a model's page. Return an empty sequence if
    neither does.
    """
    if isinstance(error, PermissionMissing):
        return error.permissions
    try:
        name = resolve(request.path_info).url_name or ""
    except Resolver404:
        return ()
    for model in apps.get_models():
        start = f"{model._meta.app_label}_{model._meta.model_name}_"
        action = _NEEDED.get(name.removeprefix(start)) if name.startswith(start) else None
        if action:
            needed = f"{model._meta.app_label}.{action}_{model._meta.model_name}"
            return () if request.user.has_perm(needed) else (needed,)
    return ()
