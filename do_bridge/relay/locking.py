"""Locks between processes, by files that the system unlocks when a process dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import RelayError

try:
    import fcntl
except ImportError:  # Windows, which can deploy a relay but not run one
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold a lock file during the block, after waiting for the process that has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_or_refuse(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file during the block.

    Raises RelayError with the text ``refusal`` if another process has it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RelayError(
            f"{path.parent} cannot be written ({error.strerror}). Name another folder with DO_BRIDGE_CACHE."
        ) from error
    try:
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RelayError(refusal) from None
        yield
    finally:
        os.close(descriptor)


def lock_folder(folder: Path) -> int:
    """Reserve a data folder for one relay; return the lock's file descriptor.

    Raises RelayError.
    """
    if not fcntl:
        raise RelayError("The local relay runs on Linux and macOS. On Windows, run it inside WSL.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RelayError(
            f"The data folder {folder} cannot be written ({error.strerror}). Choose another folder."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RelayError(f"Another local relay uses {folder}. Stop it, or choose another folder.") from error
    return descriptor
