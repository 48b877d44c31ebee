"""The base class of the site's middleware, and its small parts."""

import codecs

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import BadRequest


class Middleware:
    """Call `before` and `after` around a view, the same under WSGI and ASGI.

    Neither may block. `before(request)` may return a response in the view's place, or None; `after(response)`
    returns the response.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request):
        if self.is_async:
            return self._call_async(request)
        answer = self.before(request)
        return self.after(self.get_response(request)) if answer is None else answer

    async def _call_async(self, request):
        answer = await self.before_async(request)
        return self.after(await self.get_response(request)) if answer is None else answer

    def before(self, request):
        return None

    async def before_async(self, request):
        """Do what `before` does, for a `before` that blocks."""
        return self.before(request)

    def after(self, response):
        return response


class Utf8Middleware(Middleware):
    """Refuse encodings other than UTF-8.

    Django itself does so for forms without files. A client may name any codec of Python's: with UTF-7 a form
    has lone surrogates, which no database stores, with "hex" its fields cannot be read at all.
    """

    def before(self, request):
        if request.encoding and codecs.lookup(request.encoding).name != "utf-8":
            raise BadRequest("Send UTF-8.")
