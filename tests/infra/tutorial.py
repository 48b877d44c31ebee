"""The tutorial, walked through from an empty folder, with its pages in a browser."""

import re
import socket
from pathlib import Path

import httpx

from tests.infra.pages import ROOT, Walk, blocks_of

PAGE = (ROOT / "docs" / "tutorial" / "first-tenants.md").read_text()
BLOCKS = blocks_of(PAGE)
COMMANDS = [command for block in BLOCKS if block.language == "sh" for command in block.commands]
STAYS = "relay dev"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tutorial(Walk):
    """The walk; `installs` says whether the command that installs the package is run, or left out."""

    def __init__(self, folder: Path, environment: dict[str, str], replaced: dict[str, str]) -> None:
        super().__init__(folder, environment)
        self.replaced = replaced
        self.site = f"http://127.0.0.1:{free_port()}"
        self.printed: list[str] = []

    def walk(self) -> None:
        """Carry out every block of the page."""
        for block in BLOCKS:
            if block.file:
                self.write(block)
            elif block.language == "sh":
                for command in block.commands:
                    self._command(command)
            elif block.language == "python":
                self.run_snippet(block.text)
            else:
                raise AssertionError(f"a block of {block.language} is neither a file nor a command")

    def _command(self, command: str) -> None:
        command = self.replaced.get(command, command)
        if not command:
            return
        if STAYS in command:
            # The site's usual port may be taken.
            process = self.start(f"{command} {self.site.removeprefix('http://')}")
            self.wait_for(self._answers, process)
            return
        self.printed.append(self.run(command))
        if "create_tenants" in command:
            self.use_pages()

    def _answers(self) -> bool:
        try:
            httpx.get(self.site, trust_env=False)
        except httpx.TransportError:
            return False
        return (self.folder / ".env").exists()

    def run_snippet(self, text: str) -> None:
        """Give Python to the project's shell; the page says what it raises."""
        done = self.attempt("python manage.py shell", input=text)
        if raised := re.search(r"# raises (\w+)", text):
            assert raised[1] in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            self.printed.append(done.stdout)

    def use_pages(self) -> None:
        """Do what the page says about the browser: a notice appears in one club, and not in the other."""
        with httpx.Client(base_url=self.site, trust_env=False, follow_redirects=True) as browser:
            form = browser.get("/t/chess/").raise_for_status().text
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
            posted = browser.post("/t/chess/", data={"csrfmiddlewaretoken": token, "text": "Hall is closed"})
            assert "Hall is closed" in posted.raise_for_status().text
            other = browser.get("/t/rowing/").raise_for_status().text
            assert "Rowing Club" in other
            assert "Hall is closed" not in other
