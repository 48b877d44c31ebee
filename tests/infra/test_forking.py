"""Programs of tests: they end with the process that started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTS = """
import time
from tests.forking import Program
program = Program(["-c", "import time; time.sleep(600)"])
print(program.pid, flush=True)
time.sleep(600)
"""


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_ends_when_the_process_that_started_it_is_killed():
    process = subprocess.Popen([sys.executable, "-c", STARTS], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        pid = int(process.stdout.readline())
        assert is_running(pid)
    finally:
        process.kill()
        process.communicate()
    # The test's own time limit ends a wait that is in vain.
    while is_running(pid):
        time.sleep(0.01)
