"""A sample of tenants' lives by chance: LIFECYCLE_OPERATIONS operations of LIFECYCLE_SEED."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = int(os.environ.get("LIFECYCLE_OPERATIONS", "90"))
SEED = os.environ.get("LIFECYCLE_SEED") or str(secrets.randbits(31))


@pytest.mark.timeout(300 + OPERATIONS)
def test_after_any_operations_kills_and_pauses_d1_the_objects_and_the_copies_agree():
    command = [sys.executable, "-m", "tests.lifecycle", "--operations", str(OPERATIONS), "--seed", SEED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{OPERATIONS} operations" in done.stdout


@pytest.mark.timeout(600)
def test_two_commands_begun_within_150_milliseconds_leave_what_one_of_them_says():
    rounds = os.environ.get("LIFECYCLE_PAIRS", "1")
    command = [sys.executable, "-m", "tests.lifecycle", "--pairs", rounds, "--seed", SEED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 faults" in done.stdout
