"""Which aliases a relay of one jurisdiction would refuse."""

from django.db import connections

from .doctor import OBJECTS


def advice(url, served):
    """Return what to do about the first alias that a relay would refuse.

    Return an empty text if there is none. `url` is the relay's address. `served` is the one jurisdiction that
    it serves, and empty if it serves any.
    """
    # The plain dictionary, because a tenant's alias has the settings of its template.
    for alias, settings in dict.items(connections.settings):
        if settings.get("ENGINE") != OBJECTS or settings["HOST"].rstrip("/") != url.rstrip("/"):
            continue
        asked = settings["OPTIONS"].get("jurisdiction") or ""
        if served and asked != served:
            where = f"in the jurisdiction {asked!r}" if asked else "in no jurisdiction"
            return (
                f"The relay serves the jurisdiction {served!r} alone, and the objects of the alias {alias!r} "
                f"are {where}. Read OPTIONS['jurisdiction'] of the alias from RELAY_JURISDICTION in the "
                f"environment, and set that to {served}."
            )
    return ""
