"""The code blocks of a page, and a walk through them as a reader takes it."""

import ast
import importlib
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^( *)```([a-z]+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LABEL = re.compile(r"(?:# |<!-- )([\w./-]+\.\w+)(, .*?)?(?: -->)?\n")
_NAMED_BEFORE = re.compile(r"`([\w./-]+\.\w+)`:\n\n$")


def is_name_of_package(dotted: str) -> bool:
    """Whether a dotted name is a module of the package, or a name in one; its own needs may be missing."""
    parent, _, name = dotted.rpartition(".")
    file = ROOT.joinpath(*parent.split(".")).with_suffix(".py")
    if parent.startswith("do_bridge.contrib.") and file.exists():
        tree = ast.parse(file.read_text())
        return any(getattr(node, "name", "") == name for node in tree.body)
    try:
        importlib.import_module(dotted)
    except ImportError:
        module = ROOT.joinpath(*dotted.split("."))
        if module.with_suffix(".py").exists():
            return True
        return bool(parent) and hasattr(importlib.import_module(parent), name)
    return True


@dataclass
class Block:
    """A code block: its language and text, the file that it belongs to, and the text before it."""

    language: str
    text: str
    file: str = ""
    is_continued: bool = False  # it belongs behind what the file has

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [" ".join(shlex.split(line, comments=True)) and line.partition("  #")[0] for line in lines]


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page in Markdown, in their order."""
    found = []
    for match in _BLOCK.finditer(page):
        indent, language, text = match.groups()
        text = re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        block = Block(language, text)
        if label := _LABEL.match(text):
            block.file, block.is_continued = label[1], bool(label[2])
        elif before := _NAMED_BEFORE.search(page, 0, match.start()):
            block.file = before[1]
        found.append(block)
    return found


class Walk:
    """A folder in which a page's blocks are carried out, and what was started there."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.background: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.background:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            process.stdout.close()

    def write(self, block: Block) -> None:
        """Put a block into its file."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if block.is_continued else ""
        path.write_text(before + block.text)

    def run(self, command: str, **options: object) -> str:
        """Run a command to its end; return what it printed."""
        done = self.attempt(command, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def attempt(self, command: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; return the process."""
        return subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            **options,
        )

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command that stays; it ends with the walk."""
        process = subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.background.append(process)
        return process

    def wait_for(self, condition, process: subprocess.Popen[str], seconds: float = 300) -> None:
        """Wait until a condition holds, as long as the process lives."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, "the page's command is not ready"
            time.sleep(0.1)
