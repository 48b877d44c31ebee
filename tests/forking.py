"""Python programs in processes of their own that need not import Django first: `run()` and `Program`.

They are forked from a server that has imported what needs no settings, which is most of a command's start.
The server is started with the first program and ends with the process that started it.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# What every command imports; none of it reads the settings.
_PACKAGES = ("driver", "backends", "tenancy", "management")
_MODULES = (
    "django.contrib.admin",
    "django.contrib.auth.hashers",
    "django.contrib.staticfiles.finders",
    "django.core.management",
    "django.core.management.base",
    "django.core.management.commands.migrate",
    "django.core.mail",
    "django.core.servers.basehttp",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.loader",
    "django.forms",
    "django.template.loader",
    "django.test",
    "django.test.runner",
    "django.views.debug",
    "django.views.generic",
    "sqlparse",
    "tqdm",
    "websockets.sync.client",
)


class Program:
    """A Python program that runs in `cwd`, with `env` as its environment and `text` on its standard input.

    `command` is what follows `python`: a file, `-m` and a module, or `-c` and code; then its arguments.
    """

    def __init__(
        self,
        command: Sequence[Any],
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        text: str = "",
    ) -> None:
        self.command = [str(word) for word in command]
        self._status, theirs = socket.socketpair()
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - closed in wait()
        self._files[0].write(text.encode())
        self._files[0].seek(0)
        order = [self.command, str(cwd), dict(os.environ if env is None else env)]
        handles = [theirs.fileno(), *(file.fileno() for file in self._files)]
        _server().sendmsg(
            [json.dumps(order).encode()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))],
        )
        theirs.close()
        self.pid = int(self._status.recv(16))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = 300) -> int:
        """Wait for the program's end; return its exit code, negative for a signal."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.command, timeout)
            self.returncode = int(self._status.recv(16))
            self._status.close()
            self._files[0].close()
            for file in self._files[1:]:
                file.seek(0)
            self.stdout, self.stderr = (file.read().decode(errors="replace") for file in self._files[1:])
            for file in self._files[1:]:
                file.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code if the program has ended, else None."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal to the program, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the program at once."""
        self.send_signal(signal.SIGKILL)


def run(command: Sequence[Any], *, timeout: float = 300, **options: Any) -> Program:
    """Run a program to its end; return it with `returncode`, `stdout` and `stderr`."""
    program = Program(command, **options)
    try:
        program.wait(timeout)
    except BaseException:
        program.kill()
        raise
    return program


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.forking", str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], start_new_session=True)
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(orders: socket.socket) -> list[str]:
    """Fork for each order until there are no more; return the command in the process that is to run it."""
    _preload()
    while True:
        message, ancillary, _, _ = orders.recvmsg(2**20, socket.CMSG_SPACE(4 * 4))
        if not message:
            os._exit(0)
        handles = array.array("i")
        handles.frombytes(ancillary[0][2])
        if os.fork() == 0:
            orders.close()
            return _become(json.loads(message), list(handles))
        for handle in handles:
            os.close(handle)
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # those before have ended


def _preload() -> None:
    """Import what needs no settings."""
    import gc
    import importlib
    import pkgutil

    for package in _PACKAGES:
        name = f"do_bridge.{package}"
        found = pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}.")
        for module in found:
            importlib.import_module(module.name)
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()


def _become(order: list[Any], handles: list[int]) -> list[str]:
    """Fork the program, and tell its end; return its command in the program's own process."""
    command, folder, environment = order
    status, *standard = handles
    program = os.fork()
    if program:
        os.write(status, f"{program}".ljust(16).encode())
        threading.Thread(target=_kill_at_the_end, args=(status, program), daemon=True).start()
        _, how = os.waitpid(program, 0)
        os.write(status, f"{os.waitstatus_to_exitcode(how)}".ljust(16).encode())
        os._exit(0)
    for number, handle in enumerate(standard):
        os.dup2(handle, number)
    for handle in handles:
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    time.tzset()
    return list(command)


def _kill_at_the_end(status: int, program: int) -> None:
    """Kill the program when the process that started it has ended, perhaps by a kill."""
    if not os.read(status, 1):
        with suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)


def _run(command: list[str]) -> None:
    """Run a command in this process as `python` does."""
    if command[0] == "-m":
        sys.argv[:] = command[1:]
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as Python's own
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv[:] = ["-c", *command[2:]]
        sys.path[0] = ""
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        sys.argv[:] = command
        sys.path[0] = str(Path(command[0]).resolve().parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
