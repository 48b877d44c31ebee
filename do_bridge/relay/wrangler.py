"""Run Cloudflare's wrangler.

Secrets reach it only through its environment and private files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from . import tools
from .envfile import write_private
from .errors import RelayError
from .settings import ACCOUNT, Settings

_REFUSED: Final = re.compile(r"Authentication error|code: (?:10000|9109|10001)\b|Invalid access token")
_SECRETS: Final = re.compile(r"TOKEN|SECRET|PASSWORD|DATABASE_URL")


class Wrangler:
    """The wrangler of one account, run in a folder of its own.

    It finds no other configuration there.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self._folder = tempfile.TemporaryDirectory(prefix="relay-deploy-")
        self.folder = Path(self._folder.name)

    def __enter__(self) -> Wrangler:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._folder.cleanup()

    def command(self, *words: str) -> list[str]:
        """Return the command line of wrangler; install wrangler at first use."""
        return [*tools.wrangler_command(tools.tools_folder(self.say)), *words]

    def environment(self) -> dict[str, str]:
        """Return the environment for wrangler, with no secrets but the account's."""
        kept = {name: value for name, value in os.environ.items() if not _SECRETS.search(name)}
        account = {name: self.settings.get(name) for name in ACCOUNT if self.settings.get(name)}
        quiet = {"WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true", "NO_COLOR": "1"}
        logs = {"WRANGLER_LOG_PATH": str(self.folder / "logs")}
        return kept | account | quiet | logs

    def read(self, *words: str, failure: str) -> str:
        """Run wrangler and return its output.

        ``failure`` begins the message of the RelayError if it fails.
        """
        done = self._run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RelayError(self._explained(failure, done.stdout + done.stderr))
        return str(done.stdout)

    def databases(self) -> dict[str, str]:
        """Return the ids of the account's D1 databases by name."""
        output = self.read("d1", "list", "--json", failure="The D1 databases could not be listed.")
        return {database["name"]: database["uuid"] for database in json.loads(output)}

    def create_database(self, name: str, *, location: str, jurisdiction: str) -> str:
        """Create a D1 database; return its id."""
        where = ("--jurisdiction", jurisdiction) if jurisdiction else ("--location", location)
        options = where if where[1] else ()
        self.read("d1", "create", name, *options, failure=f"The D1 database {name} could not be created.")
        return self.databases()[name]

    def deploy(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
        """Upload code and secrets as one version; return the addresses that serve it."""
        secrets_file, output = self.folder / "secrets.json", self.folder / "output.ndjson"
        write_private(secrets_file, json.dumps(dict(secrets)))
        words = ("deploy", *self._config(config), "--secrets-file", str(secrets_file))
        environment = self.environment() | {"WRANGLER_OUTPUT_FILE_PATH": str(output)}
        done = self._run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RelayError(self._explained("The relay could not be uploaded.", done.stdout + done.stderr))
        return deployed_addresses(output.read_text() if output.exists() else "")

    def dry_run(self, config: Mapping[str, Any]) -> str:
        """Have wrangler check everything that it would upload; return its report."""
        words = ("deploy", *self._config(config), "--dry-run", "--outdir", str(self.folder / "dist"))
        return self.read(*words, failure="wrangler does not accept the relay's configuration.")

    def _config(self, config: Mapping[str, Any]) -> tuple[str, str]:
        # wrangler uploads modules that are beside its configuration or below.
        script = Path(config["main"])
        (self.folder / script.name).write_bytes(script.read_bytes())
        file = self.folder / "wrangler.json"
        file.write_text(json.dumps(dict(config) | {"main": script.name}, indent=2))
        return "--config", str(file)

    def _run(self, words: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("env", self.environment())
        return subprocess.run(  # noqa: S603
            self.command(*words),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
            **options,
        )

    def _explained(self, failure: str, output: str) -> str:
        if _REFUSED.search(output):
            return (
                f"{failure} Cloudflare refused the API token. Check CLOUDFLARE_ACCOUNT_ID, and that the "
                "token has the template *Edit Cloudflare Workers* and the permission *Account · D1 · Edit*."
            )
        for secret in (self.settings.get("CLOUDFLARE_API_TOKEN"), *self.settings.tokens().values()):
            output = output.replace(secret, "***") if secret else output
        tail = "\n".join(line for line in output.splitlines() if line.strip())[-2000:]
        return f"{failure} Correct the reason, then run the command again.\n--- wrangler's output ---\n{tail}"


def deployed_addresses(output: str) -> list[str]:
    """Return the addresses in wrangler's output file.

    The file is WRANGLER_OUTPUT_FILE_PATH, with one JSON object a line.
    """
    entries = [json.loads(line) for line in output.splitlines() if line.strip()]
    targets = [
        target for entry in entries if entry.get("type") == "deploy" for target in entry["targets"] or []
    ]
    return [target for target in targets if target.startswith("https://")]
