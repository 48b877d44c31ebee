"""Watches processes: memory, files, threads and sockets over time; tells when something stands still."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.book import Book

# Processes whose memory is not judged: they grow by each connection, whatever Worker is behind them.
WRANGLERS_OWN = ("wrangler", "wrangler's proxy")
_ANSWER = 3.0  # seconds that the watchdog waits for one
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Sample:
    """One look at a process; `memory` in MB, `moment` in seconds on the monotonic clock."""

    moment: float
    memory: float
    files: int
    sockets: int
    threads: int


@dataclass
class Series:
    """The samples of one process."""

    name: str
    pid: int
    samples: list[Sample] = field(default_factory=list)

    def after(self, warm_up: float) -> list[Sample]:
        """Return the samples without those of its first seconds."""
        return [sample for sample in self.samples if sample.moment >= self.samples[0].moment + warm_up]

    def slope(self, warm_up: float) -> float | None:
        """Return the growth of the memory in MB a minute after the warm-up, None for too short a life."""
        samples = self.after(warm_up)
        if len(samples) < 10:
            return None
        moments = [sample.moment / 60 for sample in samples]
        return statistics.linear_regression(moments, [sample.memory for sample in samples]).slope

    def growth(self, warm_up: float) -> float:
        """Return by how many MB the last third's median is above the first third's, after the warm-up."""
        samples = self.after(warm_up)
        third = max(len(samples) // 3, 1)
        first, last = samples[:third], samples[-third:]
        return statistics.median(s.memory for s in last) - statistics.median(s.memory for s in first)

    def is_growing(self, warm_up: float) -> bool:
        """Whether it looks like a leak: clearly more in the end than after the warm-up, and still rising."""
        slope, samples = self.slope(warm_up), self.after(warm_up)
        if slope is None or self.name in WRANGLERS_OWN:
            return False
        start = statistics.median(sample.memory for sample in samples[: len(samples) // 3])
        return slope > 1 and self.growth(warm_up) > max(25.0, 0.25 * start)


class Watch:
    """Samples the processes that `find` names, every `pause` seconds; a new pid is a new series."""

    def __init__(self, find: Callable[[], dict[int, str]], pause: float) -> None:
        self._find = find
        self._pause = pause
        self.series: dict[int, Series] = {}

    def run(self, over: threading.Event) -> None:
        """Watch until it is over."""
        while not over.wait(self._pause):
            for pid, name in self._find().items():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    self.series.setdefault(pid, Series(name, pid)).samples.append(look(pid))


def look(pid: int) -> Sample:
    """Return the state of a process now (Linux); raises OSError for one that is gone."""
    place = Path(f"/proc/{pid}")
    links = []
    for link in (place / "fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(link.readlink()))
    resident = int((place / "statm").read_text().split()[1]) * PAGE / 2**20
    threads = int((place / "stat").read_text(errors="replace").rpartition(")")[2].split()[17])
    sockets = sum(link.startswith("socket:") for link in links)
    return Sample(time.monotonic(), resident, len(links), sockets, threads)


def watchdog(
    urls: dict[str, str],
    evidence: Callable[[], str],
    book: Book,
    over: threading.Event,
    limit: float,
) -> None:
    """Ask each URL all the time; note what there is to see if one is silent for too long."""
    answered = dict.fromkeys(urls, time.monotonic())
    while not over.wait(1):
        for name, url in urls.items():
            if _answers(url) or not book.quiet_for(limit):
                answered[name] = time.monotonic()
            elif time.monotonic() - answered[name] > limit:
                waited = time.monotonic() - answered[name]
                book.stalls.append(f"{name} has not answered for {waited:.0f} s\n{evidence()}")
                answered[name] = time.monotonic()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_ANSWER):
            return True
    except OSError as error:
        # A status is an answer, too.
        return hasattr(error, "code")


def evidence(pids: dict[int, str], log_tail: Callable[[], str]) -> str:
    """Return what the processes do at this moment: states, wait channels, sockets; and the Worker's log."""
    lines = [f"load: {os.getloadavg()}"]
    for pid, name in pids.items():
        with contextlib.suppress(OSError):
            place = Path(f"/proc/{pid}")
            lines.append(f"{name} {pid}: {look(pid)}")
            for task in sorted((place / "task").iterdir())[:24]:
                state = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()
                lines.append(
                    f"  {task.name} state {state[0]} cpu {state[11]}+{state[12]} {_read(task / 'wchan')}"
                )
    lines += ["sockets by state and port:", *_sockets(), log_tail()]
    return "\n".join(lines)


def _read(place: Path) -> str:
    with contextlib.suppress(OSError):
        return place.read_text().strip()
    return ""


def _sockets() -> list[str]:
    """Return how many TCP sockets there are by local port, state and whether bytes wait in them."""
    counted: dict[tuple[str, str, bool], int] = {}
    for line in _read(Path("/proc/net/tcp")).splitlines()[1:]:
        fields = line.split()
        port, waits = str(int(fields[1].rpartition(":")[2], 16)), fields[4] != "00000000:00000000"
        key = (port, fields[3], waits)
        counted[key] = counted.get(key, 0) + 1
    many = sorted(counted.items(), key=lambda item: -item[1])[:30]
    return [f"  port {port} state {state} waiting {waits}: {count}" for (port, state, waits), count in many]
