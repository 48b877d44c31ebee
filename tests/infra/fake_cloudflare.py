"""A fake of Cloudflare's API, as far as wrangler uses it for a deploy; uploads run on a real local relay."""

from __future__ import annotations

import contextlib
import email
import http.server
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

from do_bridge.relay import LocalRelay

# A loopback address that does not count as this machine's own relay.
PUBLIC = "127.0.0.2"
DATABASE = "11111111-2222-4333-8444-{:012}"


class UploadedRelay(LocalRelay):
    """The code, variables and secrets of an upload on real workerd."""

    def __init__(self, folder: Path, script: bytes, bindings: dict[str, dict[str, Any]]) -> None:
        super().__init__(folder, token=bindings["RELAY_TOKEN"]["text"])
        self.tokens = {
            name: found["text"] for name, found in bindings.items() if name.startswith("RELAY_TOKEN_")
        }
        self._script, self._bindings = script, bindings

    def _write_configuration(self) -> Path:
        path = super()._write_configuration()
        config = json.loads(path.read_text())
        script = self._private / "uploaded.js"
        script.write_bytes(self._script)
        database = self._bindings["DB"]["id"]
        variables = {
            name: found.get("text", found.get("json"))
            for name, found in self._bindings.items()
            if found["type"] in ("plain_text", "json")
        }
        config |= {"main": str(script), "vars": variables}
        config["d1_databases"] = [{"binding": "DB", "database_id": database, "database_name": "DB"}]
        path.write_text(json.dumps(config))
        return path


class FakeCloudflare:
    """An account: its databases, its uploads, and an address at which the last upload answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api_token = "an-api-token"
        self.databases: list[dict[str, Any]] = []
        self.uploads: list[dict[str, dict[str, Any]]] = []
        self.requests: list[str] = []
        self.relay: UploadedRelay | None = None
        self.fail_uploads = False
        self.tail_url = ""

    def __enter__(self) -> FakeCloudflare:
        fake = self

        class Handler(_Handler):
            account = fake

        self._api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._front = socket.create_server((PUBLIC, 0))
        self.api_base = f"http://127.0.0.1:{self._api.server_port}/client/v4"
        self.url = f"http://{PUBLIC}:{self._front.getsockname()[1]}"
        for target in (self._api.serve_forever, self._forward):
            threading.Thread(target=target, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._api.shutdown()
        self._api.server_close()
        self._front.close()
        if self.relay:
            self.relay.close()

    def upload(self, content_type: str, body: bytes) -> None:
        """Take an upload, and run it."""
        message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
        metadata = json.loads(parts["metadata"].get_payload(decode=True))
        bindings = {binding["name"]: binding for binding in metadata["bindings"]}
        self.uploads.append(bindings)
        if self.relay:
            self.relay.close()
        script = parts[metadata["main_module"]].get_payload(decode=True)
        self.relay = UploadedRelay(self.folder, script, bindings).start()

    def _forward(self) -> None:
        """Carry connections at the public address to the relay that runs."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._front.accept()
                if self.relay is None:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.relay.port))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    account: FakeCloudflare

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.account.requests.append(f"{self.command} {re.sub('.*/accounts/[^/]*', '', path)}")
        if self.headers.get("Authorization") != f"Bearer {self.account.api_token}":
            self._answer(403, None, [{"code": 10000, "message": "Authentication error"}])
        elif path.endswith("/d1/database"):
            self._answer(200, self._database(body))
        elif path.endswith("/workers/subdomain"):
            self._answer(200, {"subdomain": "me"})
        elif "/workers/workers/" in path or path.endswith("/subdomain"):
            on = {"enabled": True, "previews_enabled": False}
            self._answer(200, {"id": "x", "name": "x", "subdomain": on, "tags": [], **on})
        elif path.endswith("/tails"):
            tail = {"id": "t", "url": self.account.tail_url, "expires_at": "2099-01-01T00:00:00Z"}
            self._answer(200, tail)
        elif "/tails/" in path:
            self._answer(200, {})
        elif self.command == "PUT" and not self.account.fail_uploads:
            self.account.upload(self.headers["Content-Type"], body)
            self._answer(200, {"id": "x", "etag": "e", "startup_time_ms": 1})
        else:
            self._answer(404, None, [{"code": 10007, "message": "This Worker does not exist"}])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _database(self, body: bytes) -> Any:
        known = self.account.databases
        if self.command != "POST":
            return known if "page=1" in self.path else []
        known.append({"uuid": DATABASE.format(len(known)), "version": "production", **json.loads(body)})
        return known[-1]

    def _answer(self, status: int, result: Any, errors: list[dict[str, Any]] | None = None) -> None:
        counts = {"page": 1, "per_page": 10, "count": 1, "total_count": 1}
        answer = {"success": status == 200, "errors": errors or [], "messages": [], "result": result}
        text = json.dumps(answer | {"result_info": counts}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Keeps the test's output quiet."""
