"""The same clock and the same draws in every run, so that pages and rows of two engines can be compared."""

from __future__ import annotations

import datetime
import random
import secrets
import sys
import threading
import uuid
from collections.abc import Sequence
from typing import Any

START = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
# Two rows made one after the other must not have the same moment: lists are ordered by it.
TICK = datetime.timedelta(milliseconds=1)
DRAWN = uuid.uuid4


class Same:
    """A clock that moves on whenever somebody reads it, and random texts and UUIDs that a seed decides."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self.next_minute()

    def install(self) -> None:
        """Replace `timezone.now`, `uuid.uuid4`, `secrets.choice`; must come before a project's imports."""
        from django.utils import timezone

        timezone.now = self.now
        uuid.uuid4 = self.uuid4
        secrets.choice = self.choice

    def next_minute(self) -> None:
        """Begin a minute: an engine that asked more often until now is together with the others again."""
        with self._lock:
            self._minute += 1
            self._moment = START + datetime.timedelta(minutes=self._minute)
            self._random = random.Random(self._minute)  # noqa: S311

    def now(self) -> datetime.datetime:
        """Return the moment, with or without a time zone as the settings want it."""
        from django.conf import settings

        with self._lock:
            self._moment += TICK
            moment = self._moment
        return moment if settings.USE_TZ else moment.replace(tzinfo=None)

    def choice(self, sequence: Sequence[Any]) -> Any:
        """Return one of a sequence's elements: names, keys and salts are made of them."""
        with self._lock:
            return self._random.choice(sequence)

    def uuid4(self) -> uuid.UUID:
        """Return the next one; the relay's connections, which sqlite3 has not, draw theirs by themselves."""
        if str(sys._getframe(1).f_globals.get("__name__")).startswith("websockets"):
            return DRAWN()
        with self._lock:
            return uuid.UUID(int=self._random.getrandbits(128), version=4)


SAME = Same()
