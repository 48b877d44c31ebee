"""What has happened: every request with its time and outcome, every fault with its beginning and end."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# What a fault has broken may still answer late for so many seconds after its end.
GRACE = 5.0
# The class of an answer such as a 500, which is the site's own fault whatever is broken around it.
WRONG_STATUS = "WrongStatus"


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
    broken: list[str] = field(default_factory=list)
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

    def work(self, job: Callable[[], None]) -> None:
        """Do a thread's job; one that ends by an error does nothing more, and nobody would see that."""
        try:
            job()
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.name}(), line {frame.lineno}"
            with self._lock:
                self.broken.append(f"{type(error).__name__} in {where}: {error}"[:300])

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
        """Return the requests that failed though no fault explains it: none does a page of a wrong status."""
        quiet, disturbed = self.split()
        wrong = [request for request in disturbed if request.outcome == WRONG_STATUS]
        return [request for request in quiet if request.outcome != "ok"] + wrong


def errors_of(requests: list[Request]) -> Counter[str]:
    """Count the errors by class and detail."""
    return Counter(
        f"{request.outcome} {request.detail}".strip() for request in requests if request.outcome != "ok"
    )


def percentile(requests: list[Request], share: float) -> float:
    """Return the milliseconds within which this share of the requests was answered."""
    times = sorted(request.ended - request.began for request in requests)
    return times[min(int(len(times) * share), len(times) - 1)] * 1000 if times else 0.0
