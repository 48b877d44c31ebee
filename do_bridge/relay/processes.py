"""Start processes that end together with this one, and end them.

Needs only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def process_table() -> list[tuple[int, int, str, str]]:
    """Return every process of this machine: (pid, process group, state, command name)."""
    if Path("/proc/self/stat").exists():
        rows = []
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                before, _, after = place.read_text(errors="replace").rpartition(")")  # a name may be cut
            except OSError:
                continue  # the process has just ended
            fields = after.split()
            rows.append((int(place.parent.name), int(fields[2]), fields[0], before.partition("(")[2]))
        return rows
    command = ["ps", "-A", "-o", "pid=,pgid=,stat=,comm="]
    listing = subprocess.run(command, capture_output=True, errors="replace", check=True).stdout  # noqa: S603
    split = [line.split(None, 3) for line in listing.splitlines()]
    return [(int(pid), int(group), stat, Path(name.strip()).name) for pid, group, stat, name in split]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds.

    Returns 0 for a process that does not exist any more.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        pass  # gone, or another system
    command = ["ps", "-o", "time=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, errors="replace").stdout.strip()  # noqa: S603
    seconds = 0.0
    for part in listing.replace("-", ":").split(":") if listing else ():
        seconds = seconds * 60 + float(part)
    return seconds


def group_members(group: int) -> dict[int, str]:
    """Return the live processes of a process group: {pid: command name}."""
    return {
        pid: name for pid, pgid, stat, name in process_table() if pgid == group and not stat.startswith("Z")
    }


def end_group(group: int, grace: float = 5.0) -> None:
    """End a process group with SIGTERM, then with SIGKILL after `grace` seconds.

    A `grace` of 0 sends SIGKILL at once.
    """
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not patience:
            continue
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not group_members(group):
                return
            time.sleep(0.02)


def guarded(command: list[str], leftovers: Path | None = None) -> list[str]:
    """Return the command that runs `command` under a guard.

    The guard ends its whole process group when this process or the command ends.
    leftovers: a folder that the guard removes if this process dies without removing it.
    """
    # Isolated, so that the modules beside this file do not hide those of the standard library.
    guard = [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpid()), str(leftovers or "")]
    return [*guard, *command]


def guard(parent: int, leftovers: str, command: list[str]) -> int:
    """Run a command, and end this process's group when it or the parent ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, preexec_fn=_default_signals)  # noqa: S603, PLW1509
    while True:
        try:
            code = child.wait(timeout=0.25)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                code = 1
                break
    own = os.getpid()
    os.killpg(0, signal.SIGTERM)  # this process ignores it
    deadline = time.monotonic() + 5
    while group_members(own).keys() - {own} and time.monotonic() < deadline:
        child.poll()
        time.sleep(0.05)
    for pid in group_members(own).keys() - {own}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if leftovers and os.getppid() != parent:
        shutil.rmtree(leftovers, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
