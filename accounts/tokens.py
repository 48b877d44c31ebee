"""Bearer tokens for programs: D1 has only their hashes."""

import hashlib
import secrets

from django.utils import timezone

from accounts.models import ApiToken

#: Tells people, and tools that look for leaked secrets, what the text is.
PREFIX = "dob_"
SHOWN = 8


def create(user, name):
    """Store a new token of `user`, and return its row and its text.

    Nobody can read the text again.
    """
    text = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(user=user, name=name, digest=digest(text), beginning=text[: len(PREFIX) + SHOWN - 4])
    row.save(using="default", force_insert=True)
    return row, text


def digest(text):
    """Return the hash of a token.

    It needs no salt, because the token has 256 random bits.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def user_of(text):
    """Return the active user whose token this is, or None; one round trip."""
    rows = ApiToken.objects.using("default").select_related("user").filter(digest=digest(text))
    row = rows.filter(revoked=None, user__is_active=True).first()
    return row.user if row is not None else None


def revoke(rows):
    """Revoke the tokens of a queryset; return their number."""
    return rows.filter(revoked=None).update(revoked=timezone.now())
