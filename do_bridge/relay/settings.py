"""The settings of a deployment.

They are read from the environment and an env file, and kept in that file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from . import envfile, tokens
from .errors import RelayError
from .local import DATABASES, database_id
from .locking import lock_or_refuse
from .tools import cache_folder
from .urls import is_local

ENV_FILE: Final = ".env"
NAME: Final = "do-bridge"
ACCOUNT: Final = {
    "CLOUDFLARE_ACCOUNT_ID": "the account that the relay runs in",
    "CLOUDFLARE_API_TOKEN": "a token that may edit Workers and D1 in it",
}
# Names that belong to one relay. An env file that is given by name is the only source of them.
_OF_ONE_RELAY: Final = ("RELAY_", "CLOUDFLARE_DATABASE_ID", "D1_TRANSPORT")
_LOCAL_DATABASES: Final = frozenset(database_id(number) for number in range(DATABASES))


class Settings:
    """Names and values of one deployment.

    file: the env file; if it is left out, `.env`, and the environment takes precedence over it. A file that
    is given takes precedence, and nothing about another relay comes from the environment.
    """

    def __init__(self, file: str | None = None) -> None:
        self.file = Path(file or ENV_FILE)
        self.given = file is not None
        self._assumed: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        self._kept = envfile.read(self.file)
        around = {name: value for name, value in os.environ.items() if value}
        if self.given:
            around = {name: value for name, value in around.items() if not name.startswith(_OF_ONE_RELAY)}
        self._values = around | self._kept if self.given else self._kept | around

    def __repr__(self) -> str:
        return f"<Settings {self.file}>"  # the values are secrets

    def get(self, name: str, default: str = "") -> str:
        """Return a value, or the default if it is missing or empty."""
        return self._assumed.get(name) or self._values.get(name) or default

    def keep(self, values: Mapping[str, str]) -> None:
        """Set values, and write those into the env file that are new."""
        new = {name: value for name, value in values.items() if self._values.get(name, "") != value}
        self._values |= new
        if new:
            envfile.update(self.file, new)
            self._kept |= new

    def assume(self, values: Mapping[str, str]) -> None:
        """Set values for this process alone; they take precedence."""
        self._assumed |= values

    def tokens(self) -> dict[str, str]:
        """Return the relay's tokens that are set, by name."""
        return {name: self.get(name) for name in ("RELAY_TOKEN", *tokens.OPTIONAL_TOKENS) if self.get(name)}

    def come_from_file(self, names: Iterable[str]) -> bool:
        """Return whether each of these values is that of the env file.

        Then a change of the file takes effect.
        """
        return all(self._kept.get(name, "") == self._values.get(name, "") for name in names)

    def environment(self) -> dict[str, str]:
        """Return the environment for a process that uses these settings."""
        inherited = dict(os.environ)
        if self.given:
            inherited = {name: v for name, v in inherited.items() if not name.startswith(_OF_ONE_RELAY)}
        return inherited | self._values | self._assumed

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold this env file's deployment lock during the block.

        Raises RelayError if another process of this user deploys with the file.
        """
        name = hashlib.sha256(str(self.file.resolve()).encode()).hexdigest()[:16]
        refusal = f"Another command deploys with {self.file}. Wait until it has ended, then run this again."
        with lock_or_refuse(cache_folder() / f"deploy-{name}.lock", refusal):
            self._read()
            yield

    def check_account(self) -> None:
        """Raise RelayError if Cloudflare's account or API token is missing."""
        missing = [f"  {name}: {meaning}" for name, meaning in ACCOUNT.items() if not self.get(name)]
        if missing:
            listing = "\n".join(missing)
            raise RelayError(f"Cloudflare's account is missing. Set these in {self.file}:\n{listing}")

    def check_deployable(self, *, account: bool = True) -> None:
        """Raise RelayError with all settings that are missing, weak or a local relay's."""
        wrong = [f"{name}: {meaning}" for name, meaning in ACCOUNT.items() if account and not self.get(name)]
        url = self.get("RELAY_URL")
        if (url and is_local(url)) or self.get("CLOUDFLARE_DATABASE_ID") in _LOCAL_DATABASES:
            raise RelayError(
                f"{self.file} or the environment has the settings of the local relay. Give another file for "
                "the deployed one: `manage.py relay deploy --env-file .env.production`."
            )
        if url and not url.startswith(("https://", "http://")):
            wrong.append("RELAY_URL: it must begin with https://")
        wrong += tokens.refused(self.tokens())
        if wrong:
            listing = "\n".join(f"  {line}" for line in wrong)
            raise RelayError(
                f"Nothing was deployed. Set these in {self.file} or in the environment:\n{listing}"
            )
