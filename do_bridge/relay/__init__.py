"""Run the relay Worker on this machine and deploy it, without Django or a clone."""

from .errors import RelayError
from .local import LocalRelay

__all__ = ["LocalRelay", "RelayError"]
