"""Slow down password guessing: by name and address, and by address alone, counted in D1.

Own code, because django-axes counts under a row lock, which D1 does not have, and takes four round trips
for a login.
"""

import ipaddress
import logging
import secrets
import time
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables

from accounts.models import SignInFailure
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """After `failures` failures each further one blocks for twice as long, in seconds."""

    failures: int
    first_delay: int
    longest_delay: int = 900


# A blocked login counts no attempt and opens within a quarter of an hour, so nobody is locked out for good.
OF_NAME = Limit(failures=5, first_delay=15)
# Many people may share one address.
OF_ADDRESS = Limit(failures=50, first_delay=60)
# Seconds after which a failure is forgotten, so that occasional typing errors never add up.
# As long as the longest delay: waiting for it gives no more guesses than trying as soon as it is over.
FADE = 900
FORGET = 24 * 3600  # seconds without a failure after which the row is not needed any more

_TABLE = SignInFailure._meta.db_table
_BLOCKED = f"SELECT 1 FROM {_TABLE} WHERE username = %s AND address = %s AND blocked_until > %s"  # noqa: S608
_IS_OPEN = f"NOT EXISTS ({_BLOCKED}) AND NOT EXISTS ({_BLOCKED})"
_FAILURES = f"(max(failures - max(excluded.last_at - last_at, 0) / {FADE}, 0) + 1)"
_COUNT = f"""
INSERT INTO {_TABLE} (username, address, failures, last_at, blocked_until, token)
SELECT %s, %s, 1, %s, 0, %s WHERE {{condition}}
ON CONFLICT (username, address) DO UPDATE SET
  failures = {_FAILURES},
  blocked_until = CASE WHEN {_FAILURES} < %s THEN 0
    ELSE excluded.last_at + min(%s, %s * (1 << min({_FAILURES} - %s, 20))) END,
  last_at = excluded.last_at, token = excluded.token
RETURNING failures
"""  # noqa: S608 - the table's own name


def is_open(username, address):
    """Return whether to check the password of an attempt; one round trip, and nothing is counted."""
    with _directory().cursor() as cursor:
        cursor.execute(f"SELECT {_IS_OPEN}", _of_both(username, address))
        return bool(cursor.fetchone()[0])


def count_failure(username, address):
    """Count a wrong password; return False if the login is blocked by now. One atomic batch."""
    now, token, name = int(time.time()), secrets.token_hex(16), _storable(username)
    counted = f"EXISTS (SELECT 1 FROM {_TABLE} WHERE username = '' AND address = %s AND token = %s)"  # noqa: S608
    statements = [
        _count("", address, now, token, OF_ADDRESS, _IS_OPEN, _of_both(username, address, now)),
        _count(name, address, now, token, OF_NAME, counted, [address, token]),
        (f"DELETE FROM {_TABLE} WHERE last_at < %s", [now - FORGET]),  # noqa: S608
    ]
    return bool(run_batch(_directory(), statements)[0].rows)


def forget_failures(username, address):
    """Forget a name's failures after a right password; return False if the login is blocked by now.

    One round trip, one atomic batch. The failures of its address stay: they may be somebody else's.
    """
    both = _of_both(username, address)
    of_name = f"DELETE FROM {_TABLE} WHERE username = %s AND address = %s AND {_IS_OPEN}"  # noqa: S608
    statements = [(f"SELECT {_IS_OPEN}", both), (of_name, [_storable(username), address, *both])]
    return bool(run_batch(_directory(), statements)[0].rows[0][0])


def _count(name, address, now, token, limit, condition, values):
    delay = [limit.failures, limit.longest_delay, limit.first_delay, limit.failures]
    return _COUNT.format(condition=condition), [name, address, now, token, *values, *delay]


def _of_both(username, address, now=None):
    """Return the parameters of _IS_OPEN: the rows of any name and of this one."""
    now = int(time.time()) if now is None else now
    return ["", address, now, _storable(username), address, now]


def _directory():
    return connections[conf("DIRECTORY_ALIAS")]


def _storable(username):
    """Return the name as a text that the database can store; no user has a lone surrogate in it."""
    return (username.encode("utf-8", "replace").decode().replace("\0", "?")[:150]) or "?"


def client_address(request):
    """Return the client's address: the request's peer, or the one that PROXY_COUNT trusted proxies report.

    Each proxy adds its peer to the right of X-Forwarded-For; the client can invent what is further left. An
    IPv6 address counts as its network of 64 bits, which belongs to one customer.
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


class ThrottledBackend(ModelBackend):
    """Log people in with their passwords as Django does, and slow down guessing.

    The block is checked twice: before the password, so that a blocked login costs no work, and before the
    result is returned. That second check counts a failure in the same atomic batch. So parallel guesses get
    no more answers than the limit allows, and people who log in in parallel are not counted. An attempt
    without a request does not come from a visitor and is not slowed.
    """

    @method_decorator(sensitive_variables())
    def authenticate(self, request, username=None, password=None, **kwargs):
        if request is None or not username or password is None:
            return super().authenticate(request, username, password, **kwargs)
        address = client_address(request)
        if not is_open(username, address):
            refuse(request, address)
        user = super().authenticate(request, username, password, **kwargs)
        tell = count_failure if user is None else forget_failures
        if not tell(username, address):
            refuse(request, address)
        return user

    @method_decorator(sensitive_variables())
    async def aauthenticate(self, request, **credentials):
        return await sync_to_async(self.authenticate)(request, **credentials)


def refuse(request, address):
    """End the attempt, whatever other backends exist; the forms report the block."""
    request.sign_in_closed = True
    logger.warning("Refused a login from %s after too many failed attempts", address)
    raise PermissionDenied
