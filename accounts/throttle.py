"""Slows down who guesses passwords: by name and address, and by address alone, counted in D1.

Own code, because django-axes counts under a row lock, which D1 has not, and takes four trips for a sign-in.
"""

import ipaddress
import logging
import secrets
import time
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.dispatch import receiver
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables

from accounts.models import SignInFailure
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.copies import run_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """After `failures` in a row each further one closes the door for twice as long, in seconds."""

    failures: int
    first_delay: int
    longest_delay: int = 900


# Nobody is locked out for ever: a closed door counts no attempt, and opens within a quarter of an hour.
OF_NAME = Limit(failures=5, first_delay=15)
# Many people may be behind one address.
OF_ADDRESS = Limit(failures=50, first_delay=60)
FORGET = 24 * 3600  # seconds without an attempt after which a count begins anew

_TABLE = SignInFailure._meta.db_table
_BLOCKED = f"SELECT 1 FROM {_TABLE} WHERE username = %s AND address = %s AND blocked_until > %s"  # noqa: S608
# One attempt is counted before the password is looked at: parallel guesses are counted, too.
_COUNT = f"""
INSERT INTO {_TABLE} (username, address, failures, last_at, blocked_until, token)
SELECT %s, %s, 1, %s, 0, %s WHERE {{condition}}
ON CONFLICT (username, address) DO UPDATE SET
  failures = CASE WHEN last_at < %s THEN 1 ELSE failures + 1 END,
  blocked_until = CASE WHEN last_at < %s OR failures + 1 < %s THEN 0
    ELSE %s + min(%s, %s * (1 << min(failures + 1 - %s, 20))) END,
  last_at = excluded.last_at, token = excluded.token
RETURNING failures
"""  # noqa: S608 - the table's own name


def take_attempt(username, address):
    """Count an attempt; return its token, or None where the door is closed. One trip, one atomic batch."""
    now, token = int(time.time()), secrets.token_hex(16)
    name = _storable(username)
    closed = f"NOT EXISTS ({_BLOCKED}) AND NOT EXISTS ({_BLOCKED})"
    counted = f"EXISTS (SELECT 1 FROM {_TABLE} WHERE username = '' AND address = %s AND token = %s)"  # noqa: S608
    statements = [
        _count("", address, now, token, OF_ADDRESS, closed, ["", address, now, name, address, now]),
        _count(name, address, now, token, OF_NAME, counted, [address, token]),
        (f"DELETE FROM {_TABLE} WHERE last_at < %s", [now - FORGET]),  # noqa: S608
    ]
    results = run_batch(_directory(), statements)
    return token if results[0].rows else None


def give_back(username, address, token):
    """Forget what was counted for a name that has signed in, and this attempt of its address; one trip."""
    still_last = "CASE WHEN token = %s THEN 0 ELSE blocked_until END"
    run_batch(
        _directory(),
        [
            (f"DELETE FROM {_TABLE} WHERE username = %s AND address = %s", [_storable(username), address]),  # noqa: S608
            (
                f"UPDATE {_TABLE} SET failures = max(failures - 1, 0), blocked_until = {still_last} "  # noqa: S608
                "WHERE username = '' AND address = %s",
                [token, address],
            ),
        ],
    )


def _count(name, address, now, token, limit, condition, values):
    old = now - FORGET
    delay = [limit.failures, now, limit.longest_delay, limit.first_delay, limit.failures]
    parameters = [name, address, now, token, *values, old, old, *delay]
    return _COUNT.format(condition=condition), parameters


def _directory():
    return connections[conf("DIRECTORY_ALIAS")]


def _storable(username):
    """Return the name as a text that the database can hold; what has half a character is nobody's."""
    return (username.encode("utf-8", "replace").decode().replace("\0", "?")[:150]) or "?"


def client_address(request):
    """Return whom a request comes from: its peer, or what PROXY_COUNT trusted proxies say of it.

    Each proxy adds its peer to the right of X-Forwarded-For; what stands further left is the client's own
    invention. An IPv6 address counts as its network of 64 bits, which is one customer's.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    count = settings.PROXY_COUNT
    if count and hops:
        peer = hops[-count] if len(hops) >= count else hops[0]
    if peer.startswith("[") or peer.count(":") == 1:
        peer = peer.removeprefix("[").partition("]" if "]" in peer else ":")[0]  # some proxies add the port
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)


class ThrottleBackend:
    """Stands first in AUTHENTICATION_BACKENDS and signs nobody in: it ends attempts at a closed door.

    An attempt without a request, or without a name, is not a visitor's and is not counted. No BaseBackend:
    with a `get_user` it would be taken for one that sessions can name.
    """

    @method_decorator(sensitive_variables())
    def authenticate(self, request, username=None, **credentials):
        if request is None or not username:
            return
        address = client_address(request)
        token = take_attempt(username, address)
        if token is None:
            request.sign_in_closed = True
            logger.warning("A sign-in from %s was refused after too many that failed", address)
            raise PermissionDenied
        request.sign_in_attempt = (username, address, token)

    async def aauthenticate(self, request, **credentials):
        await sync_to_async(self.authenticate)(request, **credentials)


@receiver(user_logged_in, dispatch_uid="accounts.throttle_signed_in")
def signed_in(request, **kwargs):
    attempt = getattr(request, "sign_in_attempt", None)
    if attempt is not None:
        give_back(*attempt)
