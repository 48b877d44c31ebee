"""Pages for 403 and 404 that look like the admin and name what is missing."""

from functools import wraps

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import render


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
            request.current_app = site.name
            status = 404 if is_missing else 403
            return render(request, "do_bridge/refused.html", context, status=status)

    return inside
