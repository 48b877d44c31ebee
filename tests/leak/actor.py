"""One who works in tenants: a thread, a task or a browser, with random numbers of its own."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from tests.leak.marks import mark

SEEDS = 20  # posts with the keys 1 to 20 in each tenant: changed by everybody, never deleted
# The slugs of tenants that are restored, deleted and made again begin with it.
LIVES = "life-"


@dataclass(frozen=True)
class Cast:
    """The tenants, and the keys of their people."""

    slugs: list[str]
    several: int  # a user who is a member of all tenants
    own: dict[str, int]  # each tenant's own member

    @property
    def moved(self) -> list[str]:
        """The tenants that are moved while all roles work in them."""
        return self.slugs[::2]

    def part(self, number: int, of: int) -> Cast:
        """Return the same people with every so manieth tenant."""
        return Cast(self.slugs[number::of], self.several, self.own)

    def to_json(self) -> str:
        """Return a text for another process."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Cast:
        """Return what `to_json` has written."""
        return cls(**json.loads(text))


class Actor:
    """Chooses tenants and rows; `name` stands in what it writes."""

    def __init__(self, name: str, seed: str, cast: Cast) -> None:
        self.name = name
        self.cast = cast
        self.random = random.Random(f"{seed}/{name}")  # noqa: S311
        self._tokens = 0

    def slug(self) -> str:
        """Return any tenant."""
        return self.random.choice(self.cast.slugs)

    def other(self, slug: str) -> str:
        """Return another tenant."""
        while True:
            if (found := self.slug()) != slug:
                return found

    def key(self) -> int:
        """Return the key of a row that every tenant has."""
        return self.random.randint(1, SEEDS)

    def token(self) -> str:
        """Return a word that nothing else has."""
        self._tokens += 1
        return f"{self.name}-{self._tokens}."

    def fields(self, slug: str, token: str = "") -> dict[str, object]:
        """Return the values of a row of the tenant."""
        user = self.cast.several if self.random.random() < 0.5 else self.cast.own[slug]
        return {"title": f"{mark(slug)} {token or self.token()}", "content": mark(slug), "user_id": user}
