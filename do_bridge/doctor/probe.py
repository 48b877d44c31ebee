"""What a probe is, what it returns, and the registry that collects them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

#: What a probe runs on: the relay itself, an object, D1 over the relay, D1 over Cloudflare's REST API.
RELAY: Final = "relay"
OBJECT: Final = "object"
D1: Final = "D1"
REST: Final = "REST"
EVERY: Final = (OBJECT, D1, REST)

Measured = dict[str, Any]
Check = Callable[[Any], Measured | None]

_LONGEST_SHOWN: Final = 120


class Wrong(Exception):
    """The answer is not the one that the package relies on.

    The message describes the difference.
    """


class Skip(Exception):
    """The probe cannot run here; the message gives the reason."""


class Status(StrEnum):
    """How a probe ended."""

    OK = "ok"
    FAILED = "failed"
    #: It failed in a way in which the local runtime is known to differ from production.
    LOCAL_ONLY = "local only"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Probe:
    """One fact about the platform, and the function that checks it.

    ``on`` names what it runs on, ``why`` what breaks without the fact, ``fix`` what to do then. ``check``
    returns measured values or None, or raises Wrong, Skip or one of the driver's errors. ``local``
    describes, by what it runs on, how the local runtime is known to differ.
    """

    name: str
    group: str
    on: tuple[str, ...]
    fact: str
    why: str
    fix: str
    check: Check
    local: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Result:
    """How one probe ended on one database."""

    probe: Probe
    on: str
    status: Status
    message: str = ""
    seconds: float = 0.0
    measured: Measured = field(default_factory=dict)


class Group:
    """A heading of the report, and the decorator that adds probes below it."""

    def __init__(self, title: str, registry: list[Probe]) -> None:
        self.title = title
        self._registry = registry

    def probe(
        self,
        name: str,
        *,
        on: tuple[str, ...] | str,
        fact: str,
        why: str,
        fix: str,
        local: Mapping[str, str] | None = None,
    ) -> Callable[[Check], Check]:
        """Register the decorated function as a probe; see Probe for the arguments."""
        if any(known.name == name for known in self._registry):
            raise ValueError(f"There are two probes called {name!r}.")
        places = (on,) if isinstance(on, str) else on

        def register(check: Check) -> Check:
            self._registry.append(Probe(name, self.title, places, fact, why, fix, check, local or {}))
            return check

        return register


def expect(found: object, wanted: object, what: str) -> None:
    """Raise Wrong unless both are equal and of one type."""
    if found != wanted or type(found) is not type(wanted):
        raise Wrong(f"{what}: {shown(found)} instead of {shown(wanted)}")


def shown(value: object) -> str:
    """Return a value for a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text):,} characters)"
