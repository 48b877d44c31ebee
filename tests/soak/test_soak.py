"""A short soak: the same code as `make soak`, each fault once."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_comes_back_after_every_fault_and_a_report_tells_of_it(tmp_path):
    report = tmp_path / "soak.md"
    command = [sys.executable, "-m", "tests.soak.run", "--seconds", "10", "--pause", "0.2"]
    # Few pages, and much patience: what comes back is tried, not how fast.
    command += ["--reading", "0.3", "--calm", "8", "--patience", "60"]
    command += ["--tenants", "6", "--browsers", "3", "--without-kills", "0", "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = report.read_text()
    assert "# Soak: passed" in text
    assert int(re.search(r"\| out of faults \| (\d+) \| 0 \|", text)[1]) > 0
    for fault in ("cut", "stall", "lose_answers", "kill_workerd", "kill_gunicorn_worker", "flood", "hold"):
        assert f"| {fault} |" in text
