"""Where tenants' Durable Objects are, as this process knows it.

The ledger in D1 is authoritative. This module caches what was read there, and every connection to a tenant
calls `jurisdiction_of`.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from django.apps import apps
from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.driver.places import JURISDICTIONS, LOCATIONS, join_place, split_place

from .conf import conf
from .slugs import alias_slug

#: The word for an object in no jurisdiction, because an empty text means the default.
NONE = "none"
#: Tenants in memory with their places.
TENANTS = 10_000

_lock = threading.Lock()
_known = OrderedDict()


class WrongPlace(ValueError):
    """A text is not a jurisdiction or a location hint, or the project can't have it."""


@dataclass(frozen=True)
class Place:
    """A jurisdiction, empty for none, and the hint with which an object is made there."""

    jurisdiction: str = ""
    location: str = ""


@dataclass(frozen=True)
class _Known(Place):
    fence: int = 0


def default_jurisdiction():
    """Return the jurisdiction in the OPTIONS of the template, or an empty text."""
    databases = connections.settings
    template = getattr(databases, "template", None)
    options = dict.get(databases, template, {}).get("OPTIONS", {}) if template else {}
    return options.get("jurisdiction") or ""


def place_of(jurisdiction="", location=""):
    """Return the Place that a user names.

    An empty jurisdiction stands for the default, "none" for no jurisdiction. Raises WrongPlace.
    """
    if jurisdiction and jurisdiction != NONE and jurisdiction not in JURISDICTIONS:
        raise WrongPlace(
            f"The jurisdiction is not one of {', '.join([NONE, *JURISDICTIONS])}. Choose one of these."
        )
    if location and location not in LOCATIONS:
        raise WrongPlace(f"The location is not one of {', '.join(LOCATIONS)}. Choose one of these.")
    default = default_jurisdiction()
    found = Place({"": default, NONE: ""}.get(jurisdiction, jurisdiction), location)
    if conf("JURISDICTION_FIELD") is None and found.jurisdiction != default:
        raise WrongPlace(
            f"All tenants of this project are in the jurisdiction {default or NONE!r}, which "
            "DATABASES has in the OPTIONS of the tenants' template. To place each tenant, set "
            "DO_BRIDGE['JURISDICTION_FIELD'] to a field of the tenant model."
        )
    return found


def fields():
    """Return the tenant model's fields for the jurisdiction and the location.

    Each is None if the setting is.
    """
    model = apps.get_model(conf("TENANT_MODEL"))
    names = conf("JURISDICTION_FIELD"), conf("LOCATION_FIELD")
    return tuple(None if name is None else model._meta.get_field(name) for name in names)


def field_values(place):
    """Return {field name: value} of a tenant's row for a Place."""
    names = (conf("JURISDICTION_FIELD"), place.jurisdiction or NONE), (conf("LOCATION_FIELD"), place.location)
    return {name: value for name, value in names if name is not None}


def place_of_fields(values):
    """Return the Place that {field name: value} names. Raises WrongPlace."""
    return place_of(
        *(values.get(name) or "" if (name := conf(which)) else "" for which in _SETTINGS),
    )


def named_in_fields(values):
    """Return the Place that {field name: value} names, or None without a field."""
    return place_of_fields(values) if any(conf(which) in values for which in _SETTINGS) else None


_SETTINGS = ("JURISDICTION_FIELD", "LOCATION_FIELD")


def choices(kind):
    """Return the choices of a field "jurisdiction" or "location"."""
    known = {NONE: "In no jurisdiction", **JURISDICTIONS} if kind == "jurisdiction" else LOCATIONS
    return list(known.items())


def note(row):
    """Remember a tenant's place. `row` is any object with a ledger row's values.

    What was read before another change of the place is ignored: the fence grows with each.
    """
    place = _Known(row.jurisdiction, row.location, row.fence)
    with _lock:
        if (before := _known.get(row.slug)) is not None and before.fence > place.fence:
            return
        _known[row.slug] = place
        _known.move_to_end(row.slug)
        while len(_known) > TENANTS:
            _known.popitem(last=False)


def note_text(slug, text):
    """Remember a tenant's place from the JSON text of `ledger.place_text`, or None."""
    if text is not None:
        note(_Row(slug, *json.loads(text)))


class _Row(NamedTuple):
    slug: str
    jurisdiction: str
    location: str
    fence: int


def noted(slug):
    """Return the Place of a tenant if this process knows it, else None. No round trip."""
    return _known.get(slug)


def forget(slug=None):
    """Forget the place of one tenant, or all."""
    with _lock:
        if slug is None:
            _known.clear()
        else:
            _known.pop(slug, None)


def jurisdiction_of(alias):
    """Return the jurisdiction of the object behind a tenant's alias.

    With DO_BRIDGE["JURISDICTION_FIELD"], a place that this process does not know is read from D1, in one
    round trip. Without it no place is read. Raises Django's database errors.
    """
    if (slug := alias_slug(alias)) is None:
        return default_jurisdiction()
    if (place := noted(slug)) is None and conf("JURISDICTION_FIELD") is not None:
        _read(slug)
        place = noted(slug)
    return default_jurisdiction() if place is None else place.jurisdiction


def _read(slug):
    from .replicated.contenttypes import directory_is_closed
    from .replicated.sql import run_batch

    if directory_is_closed():
        return
    directory = connections[conf("DIRECTORY_ALIAS")]
    table = directory.ops.quote_name(apps.get_model("do_bridge", "TenantState")._meta.db_table)
    sql = f"SELECT json_array(jurisdiction, location, fence) FROM {table} WHERE slug = %s"  # noqa: S608
    try:
        (result,) = run_batch(directory, [(sql, [slug])])
    except DatabaseError as error:
        if not is_missing_table(error):
            raise
        return
    for (text,) in result.rows:
        note_text(slug, text)


def follow(connection, slug):
    """Send what follows on a driver connection to the tenant's object.

    Nothing changes if the place is not known, or if the connection's transaction has begun. No round trip.
    """
    if (place := noted(slug)) is not None:
        wanted = join_place(split_place(connection.database)[0], place.jurisdiction)
        if wanted != connection.database:
            connection.redirect(wanted)
