"""A sample of the attacks: kill points under a mixed load, after which every promise still holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.kinds import KINDS, LEAST

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = os.environ.get("TORTURE_ROUNDS", "8")


@pytest.mark.timeout(300 + 30 * int(ROUNDS))
def test_after_kills_and_cuts_nothing_is_lost_half_done_or_untrue_and_planted_faults_are_found(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.torture", "--rounds", ROUNDS, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert not told["faults"], done.stdout
    assert done.returncode == 0
    assert told["planted"]
    assert all(told["planted"].values()), done.stdout
    assert told["kill_points"] == int(ROUNDS)
    for kinds in KINDS:
        assert sum(told["confirmed"].get(kind, 0) for kind in kinds) >= LEAST, done.stdout
