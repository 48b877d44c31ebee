"""The endpoint for migrating from outside, and the error pages."""

import io
import logging
import sys
from secrets import compare_digest

from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.management import CommandError, call_command
from django.http import Http404, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import csrf, defaults
from django.views.decorators.csrf import csrf_exempt

from do_bridge.tenancy.conf import conf

from .faults import fault_of

logger = logging.getLogger(__name__)


@csrf_exempt
def migrate(request):
    """Migrate D1, then every tenant, and return a report of both.

    404 if MIGRATE_TOKEN is not configured, 403 without the token; 500 names the part that failed.
    """
    if not settings.MIGRATE_TOKEN:
        raise Http404
    expected = f"Bearer {settings.MIGRATE_TOKEN}".encode()
    if not compare_digest(request.headers.get("Authorization", "").encode(), expected):
        return JsonResponse({"error": "Send the header Authorization: Bearer <MIGRATE_TOKEN>."}, status=403)
    if request.method != "POST":
        return JsonResponse({"error": "Send a POST."}, status=405, headers={"Allow": "POST"})
    report = {}
    for side, alias in (("d1", "default"), ("tenants", "tenant")):
        report[side] = run_migrate(alias)
        if not report[side]["ok"]:
            break  # the tenants' code expects an up-to-date D1
    ok = all(part["ok"] for part in report.values())
    return JsonResponse({"ok": ok, **report}, status=200 if ok else 500)


def server_error(request):
    """Answer an exception: 503 with the Fault if a database gave no answer, else 500."""
    return answer_fault(request, fault_of(sys.exc_info()[1]))


def bad_request(request, exception):
    """Return 400, or 503 if D1 did not answer when the session was saved.

    Django takes every database error for a session that was deleted in the meantime, and raises
    SessionInterrupted; the database's own error is its context.
    """
    fault = None
    if isinstance(exception, SessionInterrupted):
        error = exception
        while error is not None and fault is None:
            fault, error = fault_of(error), error.__context__
    if fault:
        return answer_fault(request, fault)
    if is_api(request):
        return JsonResponse({"error": "This request is malformed."}, status=400)
    return defaults.bad_request(request, exception)


def not_found(request, exception):
    """Answer 404."""
    if is_api(request):
        return JsonResponse({"error": "This address does not exist."}, status=404)
    return defaults.page_not_found(request, exception)


def csrf_failure(request, reason=""):
    """Answer 403 to a form or a call without this site's CSRF token."""
    if is_api(request):
        return JsonResponse(
            {
                "error": (
                    "The CSRF token is missing or wrong. Send the header X-CSRFToken with the value of the "
                    "csrftoken cookie."
                )
            },
            status=403,
        )
    return csrf.csrf_failure(request, reason)


def is_api(request):
    """Return whether the path begins with /api/.

    The tenant's prefix does not count.
    """
    path = request.path_info
    # The prefix is still there if the tenant was not found; a tenant may be named "api", too.
    if getattr(request, "tenant", None) is None and path.startswith(conf("TENANT_PATH")):
        path = "/" + path.removeprefix(conf("TENANT_PATH")).partition("/")[2]
    return path.startswith("/api/")


def answer_fault(request, fault):
    """Answer 503 and the reason for a Fault, 500 for None."""
    status, headers = (503, {"Retry-After": "5"}) if fault else (500, {})
    if fault:
        logger.error("%s", fault.text)
    if is_api(request):
        error = (
            f"A database cannot be used. {fault.text}"
            if fault
            else "The site failed, and the error was logged. Try again in a moment."
        )
        return JsonResponse({"error": error}, status=status, headers=headers)
    page = render_to_string("500.html", {"fault": fault})
    return HttpResponse(page, status=status, headers=headers)


def run_migrate(alias):
    """Run the command for one alias; returns {"ok", "output", "error"}."""
    output = io.StringIO()
    error = None
    try:
        call_command(
            "migrate", database=alias, interactive=False, no_color=True, stdout=output, stderr=output
        )
    except CommandError as exc:
        error = str(exc)
    except Exception as exc:
        # A migration's own code can raise anything, and the report has to include what came before it.
        logger.exception("migrate --database %s failed", alias)
        error = f"{type(exc).__name__}: {exc}"
    return {"ok": error is None, "output": output.getvalue().splitlines(), "error": error}
