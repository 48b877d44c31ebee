"""The part of the relay's protocol that needs no WebSocket.

It encodes steps, and formats URLs for messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import Step

#: Seconds of silence after which the relay gets a ping, which it has to answer within the same time.
PATIENCE: Final = 20.0


def wire_steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as the protocol writes them."""
    return [_wire_step(step) for step in steps]


def shown(url: str) -> str:
    """Return the URL without the parts that may be secret: user, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no address)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def session_url(url: str) -> str:
    """Return the address of a relay's sessions."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/v1/session", "", ""))


def _wire_step(step: Step) -> dict[str, Any]:
    if isinstance(step, Statement):
        wire: dict[str, Any] = {"sql": step.sql}
        if step.params:
            wire["params"] = step.params
        if step.shape.counted:
            wire["count"] = True
        if step.metered:
            wire["meter"] = True
        return wire
    return {step.verb: step.name or True, **({"key": step.key} if step.key else {})}
