"""Raise an error for a request body that is shorter than announced."""


class WholeBody:
    """WSGI middleware that refuses a body shorter than its Content-Length.

    It raises ConnectionAbortedError. Otherwise Django would save a form whose client disconnected halfway.
    (Under ASGI the server reports the disconnection, and Django drops the request.)
    """

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and int(length) > 0:
            environ["wsgi.input"] = _Announced(environ["wsgi.input"], int(length))
        return self.application(environ, start_response)


class _Announced:
    """A stream with an announced length.

    Django calls only these methods, always with a size.
    """

    def __init__(self, stream, length):
        self._stream = stream
        self._missing = length

    def read(self, size):
        data = self._stream.read(size)
        return self._counted(data, is_all=len(data) == size)

    def readline(self, size):
        data = self._stream.readline(size)
        return self._counted(data, is_all=data.endswith(b"\n") or len(data) == size)

    def _counted(self, data, *, is_all):
        self._missing -= len(data)
        if self._missing > 0 and not is_all:
            raise ConnectionAbortedError("The client disconnected before it had sent the whole request.")
        return data
