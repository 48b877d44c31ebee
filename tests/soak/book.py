"""What has happened: every request with its time and outcome, every fault with its beginning and end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

# What a fault has broken may still answer late for so many seconds after its end.
GRACE = 5.0


@dataclass(slots=True)
class Request:
    """One request; `outcome` is "ok" or the class of its error, times in seconds on the monotonic clock."""

    kind: str
    began: float
    ended: float
    outcome: str
    detail: str = ""


@dataclass(slots=True)
class Fault:
    """One fault; `recovered` is how long after its end the first request worked, None for never."""

    kind: str
    began: float
    ended: float = float("inf")
    recovered: float | None = None


@dataclass
class Book:
    """Safe to write into from several threads."""

    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    stalls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, began: float, outcome: str = "ok", detail: str = "") -> None:
        """Note a request that is over now."""
        with self._lock:
            self.requests.append(Request(kind, began, time.monotonic(), outcome, detail))

    @contextlib.contextmanager
    def fault(self, kind: str) -> Iterator[Fault]:
        """Note a fault that lasts as long as the block."""
        fault = Fault(kind, time.monotonic())
        with self._lock:
            self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.ended = time.monotonic()

    def in_fault(self, request: Request) -> bool:
        """Whether the request ran while a fault was on, or just after it."""
        return any(
            fault.began <= request.ended and request.began <= fault.ended + GRACE for fault in self.faults
        )

    def quiet_for(self, seconds: float) -> bool:
        """Whether no fault has been on for so long."""
        now = time.monotonic()
        return all(fault.ended + seconds < now for fault in self.faults)

    def split(self) -> tuple[list[Request], list[Request]]:
        """Return the requests out of faults and those in them."""
        quiet, disturbed = [], []
        for request in self.requests:
            (disturbed if self.in_fault(request) else quiet).append(request)
        return quiet, disturbed

    def unexpected(self) -> list[Request]:
        """Return the requests that failed though no fault explains it."""
        return [request for request in self.split()[0] if request.outcome != "ok"]


def errors_of(requests: list[Request]) -> Counter[str]:
    """Count the errors by class and detail."""
    return Counter(
        f"{request.outcome} {request.detail}".strip() for request in requests if request.outcome != "ok"
    )


def percentile(requests: list[Request], share: float) -> float:
    """Return the milliseconds within which this share of the requests was answered."""
    times = sorted(request.ended - request.began for request in requests)
    return times[min(int(len(times) * share), len(times) - 1)] * 1000 if times else 0.0
