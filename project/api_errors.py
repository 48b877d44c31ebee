"""Errors of the API as JSON, wherever they come from."""

from django.http import JsonResponse

from .middleware import Middleware
from .views import is_api

_TEXTS = {
    400: "This request is malformed.",
    403: "This is not allowed.",
    404: "This address does not exist.",
    405: "This method is not allowed here.",
    500: "The site failed, and the error was logged. Try again in a moment.",
    503: "A database is not ready. Try again in a minute.",
}


class ApiErrorsMiddleware(Middleware):
    """A middleware that replaces error pages below /api/ with JSON.

    This includes those of Django and of other middleware.
    """

    def __call__(self, request):
        # The path as it came: other middleware moves the tenant's prefix away.
        is_of_api = is_api(request)
        answer = super().__call__(request)
        return answer if self.is_async else as_json(answer, is_of_api)

    async def _call_async(self, request):
        is_of_api = is_api(request)
        return as_json(await super()._call_async(request), is_of_api)


def as_json(response, is_of_api):
    """Return the response, as JSON if it is an error page of the API."""
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    if not is_of_api or response.status_code < 400 or is_json:
        return response
    text = _TEXTS.get(response.status_code, response.reason_phrase)
    kept = {name: response.headers[name] for name in ("Allow", "Retry-After") if name in response.headers}
    return JsonResponse({"error": text}, status=response.status_code, headers=kept)
