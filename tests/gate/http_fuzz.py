"""Fuzzes the relay's HTTP side and the bytes of its sessions: who has no token gets nothing."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from .ledger import Ledger
from .socket_fuzz import Report, check_text

METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", "get")
PATHS = (
    "/v1/session", "/v1/session", "/v1/session", "/v1/session/", "//v1/session", "/v1//session",
    "/v1/%73ession", "/v1/session?token={}", "/v1/session#x", "/healthz/../v1/session", "/v1/session/..", "/",
    "/v1/session;a=b", "/v1/session%00", "/%2e%2e/v1/session", "/V1/SESSION", "/healthz/", "/healthz%2f",
    "/healthz", "/__proto__", "/v1/" + "a" * 5000, "/é", "/v1/session?" + "a=b&" * 500,
    "/.dev.vars", "/src/index.ts",
)  # fmt: skip
SUBPROTOCOLS = ("do-bridge.v1", "do-bridge.v2", "", "do-bridge.v1, {}", "DO-BRIDGE.V1", "a, do-bridge.v1,, b")
# What the relay says to nobody but who has a token.
ADMITTED = ("no such path", "this path needs a WebSocket", "the subprotocol must be")
SECONDS = 60.0


class HttpFuzzer:
    """Sends requests of all shapes; those without a good token must reach nothing."""

    def __init__(self, url: str, tokens: dict[str, str], ledger: Ledger, report: Report) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 80)
        self.tokens = tokens
        self.ledger = ledger
        self.report = report

    def run(self, messages: int, seed: int, threads: int = 8) -> None:
        """Send so many requests and openings; what is wrong goes to the report."""
        rng = random.Random(seed)  # noqa: S311 - it chooses inputs.
        plans = []
        for _ in range(messages):
            own = random.Random(rng.random())  # noqa: S311
            # Markers are made here: the ledger is not for several threads.
            marker = self.ledger.marker()
            frame = {"id": 1, "op": "batch", "db": "do:test/fuzz/t0"}
            step = {"sql": "INSERT INTO mark VALUES (?1)", "params": [marker]}
            text = json.dumps({**frame, "steps": [step]})
            self.ledger.expect(self.ledger.note(text, None), 0)
            plans.append((own, text))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda plan: self._one(*plan), plans))
        self.report.messages += messages

    def _one(self, rng: random.Random, text: str) -> None:
        try:
            if rng.random() < 0.15:
                self._spoilt_session(rng)
            else:
                self._request(rng, text)
        except TimeoutError:
            self.report.check(False, "a request was left without an answer")
        except ConnectionError:
            self.report.answers["connection closed"] += 1

    def _request(self, rng: random.Random, text: str) -> None:
        path = rng.choice(PATHS).format(self.tokens["all"])
        lines, good = self._token_lines(rng)
        lines += self._upgrade_lines(rng)
        lines += extra_lines(rng)
        rng.shuffle(lines)
        head = "\r\n".join([f"{rng.choice(METHODS)} {path} HTTP/1.1", "Host: relay.test", *lines, "", ""])
        with socket.create_connection(self.address, timeout=SECONDS) as connection:
            # A client that has been refused may go on talking: nobody must listen to it.
            connection.sendall(
                head.encode("latin-1", "replace") + (b"" if good else client_frame(text.encode()))
            )
            answer = read_answer(connection)
        self._check(answer, good, path, head)

    def _check(self, answer: str, good: bool, path: str, head: str) -> None:
        status = answer.split(" ", 2)[1] if answer.startswith("HTTP/1.1 ") else "none"
        self.report.answers[f"HTTP {status}"] += 1
        check_text(answer, self.tokens.values(), self.report)
        shown = f"{head.splitlines()[0][:80]} -> {answer[:200]!r}"
        if good:
            return
        self.report.check(status != "101", f"a session without a token: {shown}")
        admitted = any(text in answer for text in ADMITTED)
        self.report.check(not admitted, f"let in without a token: {shown}")
        if status.startswith("2"):
            self.report.check('{"ok":true' in answer or head.startswith("HEAD"), f"more than health: {shown}")
            self.report.check(path.startswith("/healthz"), f"an answer without a token: {shown}")

    def _token_lines(self, rng: random.Random) -> tuple[list[str], bool]:
        """Header lines with a token of some shape, and whether it is a good one."""
        token = rng.choice(list(self.tokens.values()))
        other = token[:-1] + ("x" if token[-1] != "x" else "y")
        shapes: list[tuple[list[str], bool]] = [
            ([f"Authorization: Bearer {token}"], True),
            ([], False),
            ([f"Authorization: Bearer {other}"], False),
            ([f"Authorization: Bearer {token[:-1]}"], False),
            ([f"Authorization: Bearer {token}{token[-1]}"], False),
            ([f"Authorization: Bearer {token.upper()}"], False),
            ([f"Authorization: Bearer  {token}"], False),
            ([f"Authorization: bearer {token}"], False),
            ([f"Authorization: Basic {base64.b64encode(token.encode()).decode()}"], False),
            ([f"Authorization: {token}"], False),
            ([f"Authorization: Bearer {token}, Bearer {token}"], False),
            ([f"Authorization: Bearer {token}", "Authorization: Bearer x"], False),
            ([f"Authorization: Bearer {token}\tx"], False),
            (["Authorization: Bearer"], False),
            (["Authorization: Bearer unset"], False),
            (["Authorization: Bearer undefined"], False),
            (["Authorization: Bearer " + "a" * rng.choice([1, 5_000])], False),
            (["Authorization: Bearer \xe9\xff"], False),
            ([f"Cookie: RELAY_TOKEN={token}; Authorization=Bearer {token}"], False),
            ([f"X-Authorization: Bearer {token}", f"Proxy-Authorization: Bearer {token}"], False),
            ([f"Sec-WebSocket-Protocol: do-bridge.v1, {token}"], False),
        ]
        lines, good = rng.choice(shapes)
        return list(lines), good

    def _upgrade_lines(self, rng: random.Random) -> list[str]:
        kind = rng.random()
        if kind < 0.2:
            return []
        key = base64.b64encode(rng.randbytes(16)).decode()
        lines = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        protocol = rng.choice(SUBPROTOCOLS).format("x" * 50)
        lines.append(f"Sec-WebSocket-Protocol: {protocol}" if protocol else "X-None: 1")
        if kind < 0.6:
            return lines
        lines[rng.randrange(5)] = rng.choice(
            ["Upgrade: h2c", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: x", "X: y"]
        )
        return lines

    def _spoilt_session(self, rng: random.Random) -> None:
        """Open a session with a good token, and break the WebSocket protocol itself."""
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            "GET /v1/session HTTP/1.1", "Host: relay.test", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: do-bridge.v1",
            f"Authorization: Bearer {self.tokens['all']}", "", "",
        ]  # fmt: skip
        with socket.create_connection(self.address, timeout=SECONDS) as connection:
            connection.sendall("\r\n".join(head).encode())
            opened = connection.recv(65536)
            self.report.check(opened.startswith(b"HTTP/1.1 101"), f"no session: {opened[:100]!r}")
            connection.sendall(rng.choice(BREAKS)(rng))
            connection.shutdown(socket.SHUT_WR)
            left = read_answer(connection)
            check_text(left, self.tokens.values(), self.report)
        self.report.answers["broken session"] += 1


def extra_lines(rng: random.Random) -> list[str]:
    """Headers that have nothing to do with it."""
    return rng.choice(
        [
            [],
            ["Origin: https://elsewhere.test"],
            ["X-Forwarded-For: 127.0.0.1", "CF-Connecting-IP: 127.0.0.1", "X-Original-URL: /healthz"],
            ["X-HTTP-Method-Override: GET", "Connection: Authorization"],
            [f"X-{number}: {number}" for number in range(80)],
            ["X-Long: " + "a" * 12_000],
            ["Content-Length: 0"],
        ]
    )


def client_frame(data: bytes, opcode: int = 1, first: int = 0x80, mask: bool = True) -> bytes:
    """A WebSocket frame as a client sends it, or nearly."""
    bit = 0x80 if mask else 0
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", first | opcode, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first | opcode, bit | 127, size)
    key = os.urandom(4) if mask else b""
    return head + key + (bytes(byte ^ key[at % 4] for at, byte in enumerate(data)) if mask else data)


PING = b'{"id":1,"op":"ping"}'
BREAKS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda _: client_frame(PING, mask=False),
    lambda _: client_frame(PING, first=0xF0),
    lambda rng: client_frame(PING, opcode=rng.choice([3, 7, 11, 15])),
    lambda _: client_frame(b"\xff\xfe\xc0\xaf"),
    lambda _: client_frame(PING, opcode=0),
    lambda _: client_frame(PING[:5], first=0) + client_frame(PING[5:], opcode=0),
    lambda _: client_frame(PING[:5], first=0) + client_frame(PING),
    lambda _: client_frame(PING)[:9],
    lambda _: struct.pack("!BBQ", 0x81, 0xFF, 2**40) + b"abcd",
    lambda _: client_frame(b"x" * 200, opcode=9),
    lambda _: client_frame(b"\x00", opcode=8),
    lambda _: client_frame(struct.pack("!H", 5), opcode=8),
    lambda _: client_frame(b"hello", opcode=9) * 50 + client_frame(PING),
    lambda rng: rng.randbytes(300),
    lambda _: client_frame(PING) * 20,
)


def read_answer(connection: socket.socket) -> str:
    """What comes until the other side closes, or has said all that its header promises."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        head, mark, body = data.partition(b"\r\n\r\n")
        if mark and is_whole(head, body):
            break
    return data.decode("utf-8", "replace")


def is_whole(head: bytes, body: bytes) -> bool:
    """Whether an HTTP answer is complete; an opened session counts as one."""
    lines = head.lower().split(b"\r\n")
    if b" 101 " in lines[0]:
        return True
    lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
    if lengths:
        return len(body) >= lengths[0]
    return b"transfer-encoding: chunked" in lines and body.endswith(b"0\r\n\r\n")
