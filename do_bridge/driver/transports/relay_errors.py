"""The errors of a relay session that do not come from a database."""

from __future__ import annotations

from do_bridge.driver.exceptions import DataError, InterfaceError, NotSupportedError, OperationalError
from do_bridge.driver.transport import Deadline, retry_after


def refused(
    status: int, body: bytes, retry_header: str | None, where: str
) -> OperationalError | InterfaceError:
    """Return the error for an HTTP answer that is not a session."""
    # Other servers answer with that status, too: Cloudflare's edge does when a Worker is over its limits.
    unready = status == 503 and b"RELAY_TOKEN" in body
    if status == 400:
        text = (
            f"The relay at {where} uses another version of the protocol. Run "
            "`manage.py relay status`, which shows the older side, and `manage.py relay deploy` if it is the "
            "relay"
        )
        return InterfaceError(text, effect="none", http_status=status)
    texts = {
        401: (
            f"The relay at {where} refused the token (HTTP 401). Set RELAY_TOKEN to the value of the "
            "Worker's secret"
        ),
        403: (
            f"Access to the relay at {where} is forbidden (HTTP 403). Check the firewall or access "
            "rules in front of it"
        ),
        404: f"No relay was found at {where} (HTTP 404). Check RELAY_URL",
        429: (
            f"The relay at {where} accepts no more connections for now (HTTP 429). Open fewer "
            "sessions: lower OPTIONS['pool_size']"
        ),
    }
    text = texts.get(status, f"The relay at {where} answered with HTTP {status}")
    if unready:
        text = (
            f"The relay at {where} is not ready (HTTP 503): its secret RELAY_TOKEN is missing or "
            "shorter than 32 characters"
        )
    elif 300 <= status < 400:
        text = f"{where} redirects (HTTP {status}). Set RELAY_URL to the address of the relay itself"
    transient = status == 429 or (status >= 500 and not unready)
    kind = "unauthorized" if status in (401, 403) else "rate_limited" if status == 429 else None
    return OperationalError(
        text,
        kind=kind,
        effect="none",
        http_status=status,
        transient=transient,
        retry_after=retry_after(retry_header) if transient else None,
    )


def too_large(size: int, most: int) -> DataError:
    """Return the error for a request that was not sent."""
    return DataError(
        f"The request has {size} bytes, and the relay accepts {most}. Split the work",
        kind="too_large",
        effect="none",
    )


def older_than_places(database: str) -> NotSupportedError:
    """Return the error for a name with a jurisdiction and an older relay.

    That relay would refuse the name as invalid.
    """
    return NotSupportedError(
        f"{database} is in a jurisdiction, and the relay is older than jurisdictions in names. Nothing was "
        "run. Run `manage.py relay deploy`",
        kind="unsupported",
        effect="none",
    )


def busy() -> OperationalError:
    """Return the error for a session that another call holds."""
    return OperationalError(
        "The relay session was busy until the timeout. Use a connection from one thread at a time",
        effect="none",
    )


def silent(deadline: Deadline) -> OperationalError:
    """Return the error for an answer that did not come in time."""
    return OperationalError(f"The relay did not answer within {deadline.seconds:g} seconds", effect="unknown")
