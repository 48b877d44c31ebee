"""A temporary D1 database, made and removed through Cloudflare's REST API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from do_bridge.driver import Error, OperationalError
from do_bridge.driver.transports.secret import Secret

from .web import Reply, request

NAME_PREFIX: Final = "do-bridge-doctor-"
_TIMEOUT: Final = 30.0


@dataclass
class ScratchDatabase:
    """One D1 database of a random name; ``make`` creates it and ``remove`` deletes it."""

    api_base: str
    account_id: str
    token: str = field(repr=False)
    name: str
    id: str = ""

    def __post_init__(self) -> None:
        self.token = Secret(self.token)

    def make(self) -> str:
        """Create the database and return its id.

        Raises OperationalError if the account refuses.
        """
        reply = self._call("POST", "", {"name": self.name})
        self.id = _result(reply).get("uuid") or ""
        if not self.id:
            raise OperationalError(
                f"Cloudflare did not create a temporary D1 database (HTTP {reply.status}). The "
                "token needs the permission D1: Edit",
                effect="none",
                http_status=reply.status,
            )
        return self.id

    def remove(self) -> str:
        """Delete the database; return an empty text, or a sentence about what is left."""
        if not self.id:
            return ""
        try:
            reply = self._call("DELETE", f"/{quote(self.id, safe='')}")
            status = "" if reply.status in (200, 404) else f"HTTP {reply.status}"
        except Error as error:
            status = str(error)
        if status:
            return (
                f"The temporary D1 database {self.name} was not deleted: {status}. Run: npx wrangler "
                f"d1 delete {self.name}"
            )
        self.id = ""
        return ""

    def _call(self, method: str, path: str, body: object = None) -> Reply:
        account = quote(self.account_id, safe="")
        url = f"{self.api_base.rstrip('/')}/accounts/{account}/d1/database{path}"
        return request(url, token=self.token, method=method, body=body, timeout=_TIMEOUT)


def _result(reply: Reply) -> dict[str, Any]:
    result = reply.body.get("result") if isinstance(reply.body, dict) and reply.status == 200 else None
    return result if isinstance(result, dict) else {}
