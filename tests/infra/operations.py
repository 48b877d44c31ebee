"""A walk through a page of commands in one process: each is run in its order, and its outcome is checked."""

import io
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from django.core.management import CommandError, call_command

from tests.infra.pages import blocks_of

MANAGE = "python manage.py "


def commands_of(page: Path) -> list[str]:
    """The lines of all shell blocks of a page, in their order."""
    blocks = [block for block in blocks_of(page.read_text()) if block.language == "sh"]
    return [line for block in blocks for line in block.text.splitlines() if line]


@dataclass
class Done:
    """What a command wrote, and the message of its CommandError, or ""."""

    output: str
    error: str = ""


#: A step prepares what the page supposes, yields, gets the Done, and checks it.
Step = Callable[[], Iterator[None]]


@dataclass
class Operations:
    """The commands of a page, with the steps that check them.

    `names` are the page's names and what stands for them in the test. A command that the page shows several
    times has a step for each.
    """

    names: dict[str, str]
    steps: dict[str, list[Step]] = field(default_factory=dict)

    def step(self, command: str) -> Callable[[Step], Step]:
        """Make a generator function the next step of a command, which is written as on the page."""

        def note(function: Step) -> Step:
            self.steps.setdefault(command, []).append(function)
            return function

        return note

    def walk(self, commands: list[str]) -> None:
        """Run all commands; each must have a step, and each step a command."""
        left = {command: list(steps) for command, steps in self.steps.items()}
        for command in commands:
            assert left.get(command), f"no step checks the command: {command}"
            step = left[command].pop(0)()
            next(step)
            done = self.run(command)
            try:
                step.send(done)
            except StopIteration:
                continue
            raise AssertionError(f"the step yields twice: {command}")
        assert {command for command, steps in left.items() if steps} == set()

    def run(self, command: str) -> Done:
        """Run a command of the page in this process."""
        assert command.startswith(MANAGE), command
        words = [self._named(word) for word in shlex.split(command.removeprefix(MANAGE))]
        out = io.StringIO()
        try:
            with redirect_stdout(out):
                call_command(*words, stdout=out, stderr=out, no_color=True)
        except CommandError as error:
            return Done(out.getvalue(), str(error))
        return Done(out.getvalue())

    def _named(self, word: str) -> str:
        pattern = "|".join(sorted(map(re.escape, self.names), key=len, reverse=True))
        return re.sub(rf"(?<![\w-])({pattern})(?![\w-])", lambda match: self.names[match[1]], word)
