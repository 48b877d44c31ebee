"""A sample of the leak test, and that it finds leaks."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def leak(*arguments):
    """Run the leak test with a Worker of its own; returns its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.leak.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_mixed_operations_find_their_own_tenants_rows_alone_and_leaks_made_on_purpose_are_found():
    # A number of operations for each leak, not a time, decides what is found.
    code, said = leak("--operations", "600", "--seconds", "300", "--tenants", "18", "--self-test")
    assert code == 0, said
    assert "mix-ups: **0**" in said
    done = int(re.search(r"(\d+) operations in", said)[1])
    assert done >= 600
    own = ("reading.get", "writing.update", "driving.read", "tasks.get", "pages.", "lives.", "fates.")
    # The kinds that are chosen most often.
    shop = ("lists", "prefetches", "views", "tasks", "pages")
    for kind in (*own, *(f"shopping.{name}." for name in shop)):
        assert kind in said
    found = re.findall(r"^(\w+): (\d+) mix-ups found", said, re.MULTILINE)
    assert {name for name, count in found if int(count)} == {
        *("context", "managers", "prefetches", "transport", "pages")
    }
