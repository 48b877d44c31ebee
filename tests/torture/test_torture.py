"""A sample of the attacks: kill points under a mixed load, after which every promise still holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = os.environ.get("TORTURE_SECONDS", "120")
COMMANDS = ("create_tenant", "create_tenants", "tenant_load", "tenant_delete", "migrate some", "migrate one")
COMMANDS += ("migrate all", "migrate D1", "first use")


@pytest.mark.timeout(float(SECONDS) + 300)
def test_after_kills_and_cuts_nothing_is_lost_half_done_or_untrue_and_planted_faults_are_found(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.torture", "--seconds", SECONDS, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert not told["faults"], done.stdout
    assert done.returncode == 0
    assert told["planted"]
    assert all(told["planted"].values()), done.stdout
    assert told["kill_points"] >= 5
    assert told["outcomes"]["confirmed"] >= 50
    # Each of the loads was at work, the commands on tenants, too, which take seconds.
    for kinds in (("transfer", "write"), ("ORM transfer", "D1 batch"), COMMANDS):
        assert sum(told["confirmed"].get(kind, 0) for kind in kinds) >= 3, done.stdout
