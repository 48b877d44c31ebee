"""Guards for the emptying of a tenant's object: they fail if somebody has made it anew."""

from do_bridge.backends.sqlite_file.claims import MARK, REFUSED, Claimed

from .fingerprint import META_TABLE

#: Under this key an object keeps what it was loaded from.
ORIGIN = "loaded_from"
#: Under this key an object keeps which creation it was made by.
MADE_FOR = "made_for"

# The texts depend on a row, or SQLite would compute them, and fail, beforehand.
_IF_MADE = (
    f"SELECT json_extract('{{}}', '{REFUSED}' || key) FROM {META_TABLE} "  # noqa: S608
    f"WHERE key IN ('{MADE_FOR}', '{ORIGIN}')"
)
_UNLESS_MADE_FOR = (
    f"SELECT json_extract('{{}}', '{REFUSED}' || mine) FROM "  # noqa: S608
    f"(SELECT count(*) AS mine FROM {META_TABLE} WHERE key = %s AND value = %s) WHERE mine = 0"
)


def unless_made_anew(names):
    """Return the statements that fail in an object that a creation or a load has made. Raises Claimed."""
    if MARK in names:
        raise Claimed("A load fills the object.")
    return [(_IF_MADE, None)] if META_TABLE in names else []


def while_made_for(mark):
    """Return a guard whose statements fail where another creation than `mark` has made the object."""
    return lambda names: [(_UNLESS_MADE_FOR, (MADE_FOR, mark))] if META_TABLE in names else []
