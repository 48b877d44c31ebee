"""A relay whose D1 databases have a replica that lags, and a visitor of a site that reads it.

worker/test/lagging.ts is the stand-in for what the local runtime does not simulate.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.http import HttpResponse
from django.test import RequestFactory
from engine_aliases import alias_for

from do_bridge.contrib.replicas import ReplicaMiddleware
from tests.production import ProductionWorker


@contextmanager
def lagging_worker(folder: Path) -> Iterator[ProductionWorker]:
    """A running Worker of the stand-in."""
    with LaggingWorker(folder / "state", token="lagging-token-" + "0123456789ab" * 2) as worker:
        yield worker


class LaggingWorker(ProductionWorker):
    """A ProductionWorker whose D1 databases have a replica that lags."""

    entry = "test/lagging.ts"


@contextmanager
def replicated(engine: str, worker: Any) -> Iterator[Any]:
    """A connection to an empty database with OPTIONS["replicas"]."""
    with alias_for(engine, worker) as connection:
        connection.close()
        connection.settings_dict["OPTIONS"]["replicas"] = True
        yield connection
        connection.close()
        connection.settings_dict["OPTIONS"]["replicas"] = False


def replicate(worker: Any) -> None:
    """Let the replica catch up with what is written now."""
    with urllib.request.urlopen(f"{worker.url}/replicate?binding=DB_TEST_5", timeout=60) as answer:  # noqa: S310
        assert "version" in json.load(answer)


class Browser:
    """Keeps cookies from one request to the next."""

    def __init__(self, cookies: dict[str, str] | None = None) -> None:
        self.cookies = dict(cookies or {})
        self.set: list[str] = []

    def send(self, view: Callable[[Any], Any], method: str = "GET") -> Any:
        """Let a view answer a request, and take the cookies of its response."""
        return self.take(serve(view, method, self.cookies))

    def read(self, read: Callable[[], Any], method: str = "GET") -> Any:
        """Return what `read()` returns within a request."""
        found = []

        def view(request: Any) -> Any:
            found.append(read())
            return HttpResponse()

        self.send(view, method)
        return found[0]

    def take(self, response: Any) -> Any:
        """Take the cookies of a response."""
        self.set = [name for name, morsel in response.cookies.items() if morsel["max-age"] != 0]
        for name, morsel in response.cookies.items():
            if morsel["max-age"] == 0:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return response


def serve(view: Callable[[Any], Any], method: str = "GET", cookies: dict[str, str] | None = None) -> Any:
    """Return the response of a view behind the middleware."""
    request = RequestFactory().generic(method, "/")
    request.COOKIES.update(cookies or {})
    return ReplicaMiddleware(view)(request)


def sessions(frames: list[dict[str, Any]]) -> list[Any]:
    """The constraint or bookmark of each request, None without one."""
    return [frame.get("session") for frame in frames]
