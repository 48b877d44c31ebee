"""A fake of Cloudflare's Time Travel API for D1: a bookmark for each minute, and a note of each restore."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

ACCOUNT, TOKEN = "an-account", "an-api-token"  # noqa: S105


class FakeTimeTravel:
    """One account with one database. `on_restore(bookmark)` does what a restore does to the data.

    `fail` is the status with which the next restore answers after it has been done, or None.
    """

    def __init__(self, database: str, on_restore: Callable[[str], None] = lambda bookmark: None) -> None:
        self.database = database
        self.on_restore = on_restore
        self.fail: int | None = None
        self.requests: list[str] = []
        self.present = 0xF0

    def __enter__(self) -> Self:
        fake = self

        class Handler(_Handler):
            travel = fake

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.api_base = f"http://127.0.0.1:{self._server.server_port}/client/v4"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bookmark(self, at: datetime | None = None) -> str:
        """The bookmark of the present state, or of a moment."""
        first = self.present if at is None else int(at.timestamp() / 60) % 0xE0
        return f"{first:08x}-00000002-00004e2f-0a83ea2fceebc654de0640c422be4653"


class _Handler(http.server.BaseHTTPRequestHandler):
    travel: FakeTimeTravel

    def _serve(self) -> None:
        parts, travel = urlsplit(self.path), self.travel
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        travel.requests.append(f"{self.command} {parts.path.rpartition('/')[2]} {sorted(query)}")
        base = f"/client/v4/accounts/{ACCOUNT}/d1/database/{travel.database}/time_travel"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(403, None, 10000, "Authentication error")
        elif (self.command, parts.path) == ("GET", f"{base}/bookmark"):
            at = query.get("timestamp")
            moment = None if at is None else datetime.fromisoformat(at).astimezone(UTC)
            self._answer(200, {"bookmark": travel.bookmark(moment)})
        elif (self.command, parts.path) == ("POST", f"{base}/restore") and "bookmark" in query:
            self._restore(query["bookmark"])
        else:
            self._answer(404, None, 7404, "The database was not found")

    do_GET = do_POST = _serve

    def _restore(self, bookmark: str) -> None:
        if not bookmark.startswith("0000"):
            self._answer(400, None, 7400, "Invalid bookmark")
            return
        previous = self.travel.bookmark()
        self.travel.on_restore(bookmark)
        self.travel.present += 1
        if (status := self.travel.fail) is not None:
            self.travel.fail = None
            self._answer(status, None, 7500, "internal error")
            return
        now = self.travel.bookmark()
        self._answer(200, {"bookmark": now, "previous_bookmark": previous, "message": "restored"})

    def _answer(self, status: int, result: Any, code: int = 0, message: str = "") -> None:
        errors = [{"code": code, "message": message}] if code else []
        answer = {"success": status == 200, "errors": errors, "messages": [], "result": result}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Keeps the test's output quiet."""
