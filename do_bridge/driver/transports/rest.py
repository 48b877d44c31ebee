"""D1's REST API over httpx: Cloudflare's, or the one that wrangler serves locally."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from do_bridge.driver.exceptions import Error, InterfaceError, NotSupportedError, OperationalError, error_from
from do_bridge.driver.keys.on_d1 import write_once_on_d1
from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import (
    Answer,
    Deadline,
    Transport,
    check_token,
    is_on_this_machine,
    retry_after,
    with_retries,
)
from do_bridge.driver.trips import trip
from do_bridge.version import __version__

from .secret import Secret, without_frames

if TYPE_CHECKING:
    # At run time its first use imports it: that takes a third of a command's start, and the relay needs none.
    import httpx

_CONNECT_TIMEOUT: Final = 10.0
_MAX_REQUEST: Final = 4_000_000
_DEFAULT_RETRY_AFTER: Final = 1.0
# Words of D1 for work that it, or its connection, broke off in the middle, whatever the HTTP status.
_BROKEN: Final = ("internal error", "reset", "disconnected", "timed out", "timeout")
# D1's own count includes the rows of cascades and triggers.
_COUNTS: Final = "SELECT changes(), last_insert_rowid()"


class RestTransport(Transport):
    """D1 over HTTP, with one client for each process, made after a fork.

    ``api_base`` is ``https://api.cloudflare.com/client/v4`` with an ``account_id``, or a local Worker's
    ``http://127.0.0.1:<port>/cdn-cgi/local/explorer/api`` without one.
    """

    def __init__(self, api_base: str, token: str, account_id: str | None = None) -> None:
        _require_httpx()
        self._base = api_base.rstrip("/")
        self._token = Secret(token)
        self._account_id = account_id
        # By process: a client that came over a fork is kept unused, because its sockets belong to the parent.
        self._clients: dict[int, httpx.Client] = {}

    def __repr__(self) -> str:
        return f"<RestTransport {self._host}>"

    @property
    def _host(self) -> str:
        # The part before an @ may be a password.
        try:
            parts = urlsplit(self._base)
        except ValueError:
            return "(no address)"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def batch(
        self,
        database: str,
        statements: Sequence[Statement],
        deadline: Deadline,
        *,
        expect: str | None = None,
        key: str | None = None,
        location: str | None = None,
        session: str | None = None,
    ) -> list[Answer]:
        """Run the statements as one atomic D1 batch.

        ``expect`` and ``session`` must be empty. The API has no sessions:
        https://developers.cloudflare.com/d1/best-practices/read-replication/#known-limitations
        ``location`` is ignored, because D1 is not created by a call.
        """
        if expect is not None:
            raise NotSupportedError("D1 compares no schema fingerprint. Leave out `expect`")
        if session is not None:
            raise NotSupportedError("D1's REST API has no sessions. Use the relay", effect="none")
        url = self._url(database)
        if key is not None:
            return write_once_on_d1(
                lambda steps, until: self._ask(url, steps, until), statements, key, deadline
            )
        reads_only = all(item.shape.reads_only for item in statements)
        return with_retries(
            lambda: self._ask(url, statements, deadline), reads_only=reads_only, deadline=deadline
        )

    def _ask(self, url: str, statements: Sequence[Statement], deadline: Deadline) -> list[Answer]:
        queries = [query for item in statements for query in _queries(item)]
        body = json.dumps(queries[0] if len(queries) == 1 else {"batch": queries}, ensure_ascii=False)
        return _answers(*self._send("POST", url, body.encode(), deadline), statements)

    def call(self, method: str, database: str, path: str, query: dict[str, str], deadline: Deadline) -> Any:
        """Return the result of a request to ``path`` below a database's address."""
        address = self._url(database).removesuffix("/raw") + f"/{path}"
        response, content = self._send(method, f"{address}?{urlencode(query)}", b"", deadline)
        return _payload(response, content).get("result")

    def max_request(self, deadline: Deadline) -> int:
        """Return the largest request body in bytes."""
        return _MAX_REQUEST

    def close(self) -> None:
        """Close the client, if it is this process's."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def _url(self, database: str) -> str:
        scheme, _, name = database.partition(":")
        if scheme != "d1" or not name:
            raise InterfaceError(
                f"The REST transport reaches only D1 databases ('d1:<id>'), not {database!r}"
            )
        account = f"/accounts/{quote(self._account_id, safe='')}" if self._account_id else ""
        return f"{self._base}{account}/d1/database/{quote(name, safe='')}/raw"

    def _http(self) -> httpx.Client:
        import httpx

        client = self._clients.get(os.getpid())
        if client is None:
            import httpx

            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60)
            made = httpx.Client(
                limits=limits,
                headers={"Content-Type": "application/json", "User-Agent": f"do-bridge/{__version__}"},
                trust_env=not is_on_this_machine(self._base),  # no proxy leads to the local API
            )
            client = self._clients.setdefault(os.getpid(), made)
        return client

    def _authorization(self) -> dict[str, str]:
        if not self._token and not self._account_id:
            return {}
        check_token(self._token, "CLOUDFLARE_D1_TOKEN")
        return {"Authorization": Secret(f"Bearer {self._token}")}

    def _send(
        self, method: str, url: str, content: bytes, deadline: Deadline
    ) -> tuple[httpx.Response, bytes]:
        import httpx

        left = deadline.remaining()
        if not left:
            raise OperationalError(
                f"The {deadline.seconds:g} seconds of the timeout passed before the request was sent",
                effect="none",
            )
        timeout = httpx.Timeout(left, connect=min(left, _CONNECT_TIMEOUT))
        headers = self._authorization()
        try:
            request = self._http().build_request(
                method, url, content=content, headers=headers, timeout=timeout
            )
            trip()
            response = self._http().send(request, stream=True)
            try:
                return response, _read(response, deadline)
            finally:
                response.close()
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            text = f"D1_API_BASE is not an address that begins with http:// or https://: {self._host}"
            raise InterfaceError(text, effect="none") from without_frames(error)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise OperationalError(
                f"D1's API at {self._host} could not be reached ({error or type(error).__name__}). "
                "Check D1_API_BASE and the network",
                effect="none",
                transient=True,
            ) from without_frames(error)
        except httpx.TimeoutException as error:
            raise _timed_out(deadline) from without_frames(error)
        except httpx.DecodingError as error:
            text = (
                "The answer of D1's API cannot be decompressed. Check which proxy or server is in front of it"
            )
            raise OperationalError(text, effect="unknown") from without_frames(error)
        except httpx.TransportError as error:
            raise OperationalError(
                f"The connection to D1's API was lost before its answer came ({type(error).__name__})",
                effect="unknown",
                transient=True,
            ) from without_frames(error)


def _require_httpx() -> None:
    """Raise InterfaceError if httpx is not installed."""
    try:
        import httpx  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise InterfaceError(
            "The REST transport needs the package httpx, which is not installed. Run "
            '`pip install "do-bridge[rest]"`, or set OPTIONS["transport"] to "relay"',
            effect="none",
        ) from error


_transports: dict[tuple[str, str, str | None], RestTransport] = {}


def rest(api_base: str, token: str, account_id: str | None = None) -> RestTransport:
    """Return this process's REST transport.

    A local Worker's API has no ``account_id``.
    """
    token = Secret(token)
    return _transports.setdefault((api_base, token, account_id), RestTransport(api_base, token, account_id))


@atexit.register
def _close_all() -> None:
    for transport in _transports.values():
        transport.close()


def _timed_out(deadline: Deadline) -> OperationalError:
    return OperationalError(f"D1's API did not answer within {deadline.seconds:g} seconds", effect="unknown")


def _read(response: httpx.Response, deadline: Deadline) -> bytes:
    chunks = []
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        if not deadline.remaining():
            raise _timed_out(deadline)
    return b"".join(chunks)


def _queries(statement: Statement) -> list[dict[str, Any]]:
    query = {"sql": statement.sql, "params": list(statement.params)}
    return [query, {"sql": _COUNTS, "params": []}] if statement.shape.counted else [query]


def _answers(response: httpx.Response, content: bytes, statements: Sequence[Statement]) -> list[Answer]:
    results: Any = _payload(response, content).get("result")
    expected = sum(1 + statement.shape.counted for statement in statements)
    try:
        if len(statements) == 1:
            # For a multi-statement text Cloudflare returns all results, the local API only the last one.
            results = results[-expected:]
        if len(results) != expected:
            raise ValueError(f"{len(results)} results instead of {expected}")
        left = iter(results)
        return [_answer(next(left), next(left) if item.shape.counted else None) for item in statements]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reads_only = all(statement.shape.reads_only for statement in statements)
        raise InterfaceError(
            "The answer of D1's API has a form that this version of the driver cannot read. Check "
            "D1_API_BASE, or install a newer do_bridge",
            effect=None if reads_only else "done",
        ) from error


def _payload(response: httpx.Response, content: bytes) -> dict[str, Any]:
    """Return the body of an answer; raise the driver's error if it is a refusal."""
    try:
        payload = json.loads(content)
    except ValueError:
        payload = None
    if not isinstance(payload, dict) or not payload.get("success"):
        raise _refusal(response, payload if isinstance(payload, dict) else {})
    return payload


def _answer(result: dict[str, Any], counts: dict[str, Any] | None) -> Answer:
    table, meta = result.get("results") or {}, result.get("meta") or {}
    answer = Answer(table.get("columns", []), table.get("rows", []))
    if counts is not None:
        ((changes, answer.last_row_id),) = counts["results"]["rows"]
        # changes() keeps an earlier statement's count if this one changed nothing.
        answer.changes = changes if meta.get("changes") else 0
    for each in [meta] if counts is None else [meta, counts.get("meta") or {}]:
        answer.rows_read = _add(answer.rows_read, each.get("rows_read"))
        answer.rows_written = _add(answer.rows_written, each.get("rows_written"))
    return answer


def _add(total: int | None, number: int | None) -> int | None:
    return total if number is None else (total or 0) + number


def _refusal(response: httpx.Response, payload: dict[str, Any]) -> Error:
    """Return the exception for a failed request.

    It depends on the HTTP status, else on D1's message.
    """
    status = response.status_code
    request_id = response.headers.get("cf-ray")
    if status == 429:
        return OperationalError(
            "D1's API accepts no more requests for now (HTTP 429). Serve visitors through the "
            "relay: D1_TRANSPORT=relay",
            kind="rate_limited",
            effect="none",
            transient=True,
            retry_after=retry_after(response.headers.get("retry-after")) or _DEFAULT_RETRY_AFTER,
            http_status=status,
            request_id=request_id,
        )
    if status in (401, 403):
        return OperationalError(
            f"D1's API refused the token (HTTP {status}). Check CLOUDFLARE_D1_TOKEN: it needs the "
            "permission D1: Edit for the account",
            kind="unauthorized",
            effect="none",
            http_status=status,
            request_id=request_id,
        )
    if 300 <= status < 400:
        return OperationalError(
            f"D1's API redirects (HTTP {status}). Set D1_API_BASE to the address of the API itself",
            effect="none",
            http_status=status,
            request_id=request_id,
        )
    errors = payload.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return _d1_error(str(errors[0].get("message", "")), status, request_id)
    if status == 404:
        return _not_found(status, request_id)
    return OperationalError(
        f"D1's API failed (HTTP {status}). Try again in a moment",
        effect="unknown",
        transient=status >= 500,
        http_status=status,
        request_id=request_id,
    )


def _d1_error(message: str, status: int, request_id: str | None) -> Error:
    error = error_from(message, http_status=status, request_id=request_id)
    if error.kind == "internal" and status == 404:
        return _not_found(status, request_id)
    # SQLite's refusal rolls the whole batch back, and a bad request never runs. Otherwise the outcome is
    # unknown.
    broken = any(word in message.lower() for word in _BROKEN)
    refused = error.kind == "internal" and status < 500 and not broken
    error.effect = "none" if error.kind == "sql" or refused else "unknown"
    return error


def _not_found(status: int, request_id: str | None) -> OperationalError:
    return OperationalError(
        "D1's API has no such database (HTTP 404). Check CLOUDFLARE_DATABASE_ID, "
        "CLOUDFLARE_ACCOUNT_ID and D1_API_BASE",
        kind="unknown_database",
        effect="none",
        http_status=status,
        request_id=request_id,
    )
