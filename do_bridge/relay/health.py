"""Read what a relay reports of itself at /healthz."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from do_bridge.version import __version__

from .errors import RelayError
from .urls import is_local

PROTOCOL: Final = 1


@dataclass(frozen=True)
class Health:
    """A relay's answer to a health check.

    problem: describes an answer that is not a relay's; then the rest is empty. version: of the deployment.
    package: the version of do_bridge that the relay's code belongs to, empty for a relay from before it
    reported one. protocol: 0 if unknown.
    """

    problem: str = ""
    version: str = ""
    package: str = ""
    protocol: int = 0
    jurisdiction: str = ""


def read(url: str, timeout: float = 10) -> Health:
    """Return what a relay reports; never raise."""
    agent = {"User-Agent": f"do-bridge/{__version__}"}
    # The proxy of the environment, except for this machine's own relay.
    proxies = urllib.request.ProxyHandler({}) if is_local(url) else urllib.request.ProxyHandler()
    opener = urllib.request.build_opener(proxies)
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/healthz", headers=agent)  # noqa: S310
        with opener.open(request, timeout=timeout) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        return Health(f"HTTP {error.code}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Health(f"no usable answer ({type(error).__name__})")
    version = body.get("version") if isinstance(body, dict) else None
    if not version:
        return Health("an answer without a version")
    protocol = body.get("protocol")
    return Health(
        version=str(version),
        package=str(body.get("package") or ""),
        protocol=protocol if isinstance(protocol, int) else 0,
        jurisdiction=str(body.get("jurisdiction") or ""),
    )


def wait_for_version(
    url: str, version: str, *, seconds: float = 180, pause: float = 1, times: int = 3
) -> None:
    """Return once the relay has reported this version `times` in a row.

    seconds: the time to wait in all. pause: seconds between two requests. Raises RelayError at the deadline.
    """
    deadline = time.monotonic() + seconds
    seen, answer = 0, ""
    while time.monotonic() < deadline:
        health = read(url)
        answer = health.problem or health.version
        seen = seen + 1 if health.version == version else 0
        if seen == times:
            return
        time.sleep(pause)
    raise RelayError(
        f"{url} did not serve version {version} within {seconds:g} s. Its last answer: {answer}. "
        "Check RELAY_URL, then run `manage.py relay deploy` again."
    )


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare it with another one."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
