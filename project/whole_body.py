"""Keeps a request whose client went away in the middle from being taken for a whole one."""


class WholeBody:
    """WSGI middleware: reading a body that ends before its Content-Length raises ConnectionAbortedError.

    Django takes what has come for all there is: a form that was cut would be saved, cut. (Under ASGI the
    server tells of the disconnection, and Django drops the request.)
    """

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and int(length) > 0:
            environ["wsgi.input"] = _Announced(environ["wsgi.input"], int(length))
        return self.application(environ, start_response)


class _Announced:
    """A stream of so many bytes; the methods are those that Django calls, always with a size."""

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
