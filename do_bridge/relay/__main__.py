"""`python -m do_bridge.relay`: the relay commands that need no Django settings."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .commands import deploy, dev, logs, token
from .errors import RelayError
from .terminal import say

SUBCOMMANDS: dict[str, Any] = {"dev": dev, "deploy": deploy, "token": token, "logs": logs}


class _Output:
    def write(self, text: str) -> None:
        say(text)

    def flush(self) -> None:
        """Do nothing: each line is flushed already."""


class _Command:
    """What a subcommand uses of a Django command."""

    stdout = _Output()


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m do_bridge.relay", description=__doc__)
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        module.add_arguments(subparsers.add_parser(name, help=module.help, description=module.help))
    options = vars(parser.parse_args(arguments))
    try:
        SUBCOMMANDS[options.pop("subcommand")].handle(_Command(), **options)
    except RelayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
