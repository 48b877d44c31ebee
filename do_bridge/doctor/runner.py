"""Run the probes one after the other, within a time limit, and always clean up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from do_bridge.driver import Error

from .cleanup import clean
from .databases import Database
from .probe import Measured, Probe, Result, Skip, Status, Wrong
from .probes import ANSWERS, PROBES
from .site import Site

#: Seconds that all probes together may take.
LIMIT: Final = 60.0

_LATE: Final = "the time limit of the whole run was reached"


@dataclass
class Report:
    """All results of a run, and what it could not remove."""

    results: list[Result] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = False

    @property
    def ok(self) -> bool:
        """Whether every possible probe ran, none failed, and nothing is left behind."""
        return self.complete and not self.left and not self.of(Status.FAILED)

    def of(self, status: Status) -> list[Result]:
        """Return the results with this status."""
        return [result for result in self.results if result.status is status]


def examine(
    site: Site,
    *,
    probes: Sequence[Probe] = PROBES,
    seconds: float = LIMIT,
    report: Report | None = None,
) -> Report:
    """Run the probes and return the report, filled into the given one if there is one.

    Raises the driver's error if the relay cannot be used at all. An interruption passes through after the
    clean-up, which the given report then includes.
    """
    report, start = Report() if report is None else report, monotonic()
    try:
        site.connect()
        _run(site, probes, start + seconds, report)
        report.complete = not any(result.message == _LATE for result in report.results)
    finally:
        report.left = clean(site)
        report.seconds = monotonic() - start
    return report


def _run(site: Site, probes: Sequence[Probe], end: float, report: Report) -> None:
    silent: dict[str, str] = {}
    for probe in probes:
        for kind, subject in site.subjects(probe.on):
            if monotonic() >= end:
                result = Result(probe, kind, Status.SKIPPED, _LATE)
            elif kind in silent:
                result = Result(probe, kind, Status.SKIPPED, silent[kind])
            else:
                result = _one(site, probe, kind, subject)
            if probe.name == ANSWERS and result.status is Status.FAILED:
                silent[kind] = f"{kind} does not answer"
            report.results.append(result)


def _one(site: Site, probe: Probe, kind: str, subject: Any) -> Result:
    start = monotonic()
    status, message, measured = _outcome(site, probe, kind, subject)
    return Result(probe, kind, status, site.scrub(message), monotonic() - start, measured)


def _outcome(site: Site, probe: Probe, kind: str, subject: Any) -> tuple[Status, str, Measured]:
    try:
        return Status.OK, "", probe.check(subject) or {}
    except Skip as reason:
        return Status.SKIPPED, str(reason), {}
    except Wrong as wrong:
        if site.is_local and kind in probe.local:
            return Status.LOCAL_ONLY, f"{probe.local[kind]} ({wrong})", {}
        return Status.FAILED, str(wrong), {}
    except Error as error:
        return Status.FAILED, f"{type(error).__name__}: {error}", {}
    except Exception as error:  # noqa: BLE001 - an answer of an unknown form is a failed probe, not a traceback.
        return Status.FAILED, f"the answer has a form that the probe cannot read ({type(error).__name__})", {}
    finally:
        if isinstance(subject, Database):
            subject.end_probe()
