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
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables

from accounts.models import SignInFailure
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.copies import run_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """From `failures` on each further one closes the door for twice as long, in seconds."""

    failures: int
    first_delay: int
    longest_delay: int = 900


# Nobody is locked out for ever: a closed door counts no attempt, and opens within a quarter of an hour.
OF_NAME = Limit(failures=5, first_delay=15)
# Many people may be behind one address.
OF_ADDRESS = Limit(failures=50, first_delay=60)
# Seconds without a failure after which one is forgotten: what people mistype from day to day never adds up.
# As long as the longest delay: who waits for it gains no guess over who knocks as soon as the door opens.
FADE = 900
FORGET = 24 * 3600  # seconds without a failure after which the row is no longer needed

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
    """Say whether an attempt is worth a look at its password; one trip, and nothing is counted."""
    with _directory().cursor() as cursor:
        cursor.execute(f"SELECT {_IS_OPEN}", _of_both(username, address))
        return bool(cursor.fetchone()[0])


def count_failure(username, address):
    """Count a wrong password; return False where the door is closed by now. One trip, one atomic batch."""
    now, token, name = int(time.time()), secrets.token_hex(16), _storable(username)
    counted = f"EXISTS (SELECT 1 FROM {_TABLE} WHERE username = '' AND address = %s AND token = %s)"  # noqa: S608
    statements = [
        _count("", address, now, token, OF_ADDRESS, _IS_OPEN, _of_both(username, address, now)),
        _count(name, address, now, token, OF_NAME, counted, [address, token]),
        (f"DELETE FROM {_TABLE} WHERE last_at < %s", [now - FORGET]),  # noqa: S608
    ]
    return bool(run_batch(_directory(), statements)[0].rows)


def forget_failures(username, address):
    """Forget what a name failed before it was right; return False where the door is closed by now.

    One trip, one atomic batch. What its address has failed stays: it may be somebody else's.
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


class ThrottledBackend(ModelBackend):
    """Signs people in by their passwords as Django does, and more and more slowly who guesses them.

    The door is looked at twice: before the password is, so that a closed one costs no work, and when what
    was found is to be told. That second look counts a failure in the same atomic batch. So of guesses that
    run side by side no more are answered than the limit allows, whatever they found, and of people who sign
    in side by side nobody is counted. An attempt without a request is not a visitor's and is not slowed.
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
    """End the attempt, whatever other backends there are; the forms say that the door is closed."""
    request.sign_in_closed = True
    logger.warning("A sign-in from %s was refused after too many that failed", address)
    raise PermissionDenied
