"""Plain HTTP requests: to the relay outside its sessions, and to Cloudflare's API."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from do_bridge.driver import OperationalError
from do_bridge.driver.transport import is_on_this_machine
from do_bridge.driver.transports.secret import Secret, without_frames
from do_bridge.driver.transports.wire import shown


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, whatever its status; ``body`` is parsed JSON, or None."""

    status: int
    body: Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirects, because the token would go along."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def request(
    url: str, *, token: str = "", method: str = "GET", body: object = None, timeout: float = 10.0
) -> Reply:
    """Send one request and return its answer.

    Raises OperationalError when the server cannot be reached.
    """
    headers = {"User-Agent": "do-bridge-doctor", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = Secret(f"Bearer {token}")
    proxies = urllib.request.ProxyHandler({}) if is_on_this_machine(url) else urllib.request.ProxyHandler()
    opener = urllib.request.build_opener(proxies, _NoRedirect)
    data = None if body is None else json.dumps(body).encode()
    try:
        made = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - http(s) alone.
        with opener.open(made, timeout=timeout) as answer:
            return Reply(answer.status, _parsed(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, _parsed(error.read()))
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = (
            f"{shown(url)} could not be reached ({type(error).__name__}). Check the address and the network"
        )
        raise OperationalError(text, effect="none") from without_frames(error)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
