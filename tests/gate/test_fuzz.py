"""A sample of the fuzzers, and a proof that they notice a relay that breaks its promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import fuzz

SEED = 20261123
# Planted defects are found within 1,200; `make fuzz` sends 200,000 at night.
MESSAGES = 4_000
# Where the relay's code is broken on purpose, and what the fuzzer must say about it.
DEFECTS = (
    ("session.ts", "} else if (!known.isOn(", "} else if (Date.now() < 0 && !known.isOn("),
    ("auth.ts", 'if (scope === "tenants" &&', 'if (Date.now() < 0 && scope === "tenants" &&'),
    ("auth.ts", "null : digest(token)", "null : digest(token.slice(0, 30))"),
    ("auth.ts", "await digest(secret)", "await digest(secret.slice(0, 30))"),
    ("errors.ts", "error instanceof Error ? error.message", 'error instanceof Error ? (error.stack ?? "")'),
)


def test_a_sample_of_fuzzed_messages_breaks_no_promise(own_worker: Callable[..., Any]) -> None:
    report = fuzz.fuzz(own_worker(**fuzz.worker_options()).start(), MESSAGES, SEED)
    assert report.violations == []
    assert report.messages >= MESSAGES
    # Each way through the relay was taken.
    assert {"ok", "sql", "bad_request", "forbidden", "no_transaction", "HTTP 401"} <= report.answers.keys()


def test_the_fuzzer_notices_a_relay_that_breaks_its_promises(worker_copy: Callable[..., Any]) -> None:
    worker = worker_copy(**fuzz.worker_options())
    for file, good, bad in DEFECTS:
        place = worker.source / "src" / file
        assert place.read_text().count(good) == 1
        place.write_text(place.read_text().replace(good, bad))
    violations = "\n".join(fuzz.fuzz(worker.start(), 1200, SEED).violations)
    assert "let in without a token" in violations
    assert "an answer shows the code" in violations
    assert "was meant for do:" in violations
    assert f"{fuzz.D1.format(3)}): 1 rows instead of 0" in violations
