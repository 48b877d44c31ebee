"""TCP ports of this machine."""

from __future__ import annotations

import os
import socket
from typing import Final

from .errors import RelayError

HOST: Final = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port of this machine that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(port: int, choose: str = "another port") -> None:
    """Raise RelayError if the port cannot be used.

    ``choose`` completes "or choose …" in its message.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RelayError(
                f"Port {port} on {HOST} cannot be used ({error.strerror}). Stop the program that "
                f"uses it, or choose {choose}."
            ) from error


def port_setting(name: str, default: int) -> int:
    """Return the port in an environment variable; raise RelayError if it is invalid."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise RelayError(f"{name} is {value!r}. Set it to a port from 1 to 65535.")
    return int(value)
