"""Deploy the relay and migrate the project's databases, as a plan of steps."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from do_bridge.driver.places import JURISDICTIONS, LOCATIONS
from do_bridge.version import __version__

from . import bundle, health, project, tokens
from .errors import RelayError
from .settings import NAME, Settings
from .urls import TENANT_DATABASE_URL, database_urls, jurisdiction_of
from .wrangler import Wrangler

# Seconds added to the objects' update time, because the version reaches each place at its own time.
MARGIN: Final = 10
# For a check of the project's settings before the first deployment has an address.
UNKNOWN_URL: Final = "https://relay.invalid"
UNKNOWN_DATABASE: Final = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Step:
    """One part of a deployment: what it does, in words, and the function that does it."""

    title: str
    run: Callable[[], None]


class Deployment:
    """A deployment of a relay, whose steps can be repeated.

    A deployment that was interrupted is run again.

    settings: the account, the tokens, and what an earlier deployment has kept. chosen: values that this
    deployment sets, to be kept for later ones. migrates: whether the project of this folder is migrated.
    older: whether it may replace a newer relay.
    """

    def __init__(
        self,
        settings: Settings,
        wrangler: Wrangler,
        *,
        chosen: Mapping[str, str] | None = None,
        migrates: bool = True,
        older: bool = False,
    ) -> None:
        self.chosen = chosen or {}
        settings.assume(self.chosen)
        self.settings = settings
        self.wrangler = wrangler
        self.migrates = migrates
        self.older = older
        self.say = wrangler.say
        self.name = settings.get("RELAY_NAME", NAME)
        self.location = settings.get("RELAY_LOCATION")
        self.jurisdiction = settings.get("RELAY_JURISDICTION")
        self.domain = settings.get("RELAY_DOMAIN")
        self._check_places()
        self.version = settings.get("RELAY_VERSION") or secrets.token_hex(8)
        self._is_new = False

    @property
    def url(self) -> str:
        """The relay's address; empty until it is known."""
        return self.settings.get("RELAY_URL") or (f"https://{self.domain}" if self.domain else "")

    @property
    def database_id(self) -> str:
        """The id of the D1 database; empty until it is known."""
        return self.settings.get("CLOUDFLARE_DATABASE_ID")

    def plan(self) -> list[Step]:
        """Return the steps, in their order."""
        place = self.jurisdiction or self.location
        found = f"Use the D1 database {self.database_id}"
        made = f"Create the D1 database {self.name}{f' in {place}' if place else ''}, unless it exists"
        steps = [
            Step(f"Compare with the relay at {self.url}", self.compare)
            if self.url
            else Step("Expect no relay yet, because RELAY_URL is not set", self.compare),
            Step(found if self.database_id else made, self.find_database),
            Step(f"Keep RELAY_TOKEN in {self.settings.file}; make one if it is missing", self.make_token),
            Step(f"Upload the relay of do_bridge {__version__} and its tokens as {self.name}", self.upload),
            Step("Wait until it answers with this version", self.wait),
        ]
        if self.migrates:
            steps.insert(0, Step("Check that the project's settings name the relay", self.check_project))
            steps.append(Step("Wait until busy objects run it, too", self.wait_for_objects))
            steps.append(Step("Migrate the project's databases", self.migrate))
        return steps

    def configuration(self) -> dict[str, Any]:
        """Return wrangler's configuration, with the account's own database."""
        config = bundle.configuration()
        database_id = self.database_id or UNKNOWN_DATABASE
        config["name"] = self.name
        config["d1_databases"] = [{"binding": "DB", "database_name": self.name, "database_id": database_id}]
        config["vars"] |= {
            "D1_DATABASES": {database_id: "DB"},
            "RELAY_VERSION": self.version,
            "JURISDICTION": self.jurisdiction,
            "LOCATION_HINT": "" if self.jurisdiction else self.location,
        }
        if self.domain:
            config["routes"] = [{"pattern": self.domain, "custom_domain": True}]
        return config

    def compare(self) -> None:
        """Raise RelayError if the deployed relay is newer, or keeps its data elsewhere."""
        running = health.read(self.url) if self.url else health.Health("none")
        if running.problem:
            return
        if running.jurisdiction != self.jurisdiction:
            there, here = _served(running.jurisdiction), _served(self.jurisdiction)
            raise RelayError(
                f"The relay at {self.url} serves {there}, and this deployment would serve {here}. Objects in "
                "another jurisdiction are other objects, without the data. Set RELAY_JURISDICTION as before, "
                "or deploy another relay with an env file of its own."
            )
        if health.release(running.package) > health.release(__version__) and not self.older:
            raise RelayError(
                f"The relay at {self.url} is of do_bridge {running.package}, and {__version__} is installed. "
                "Run `pip install --upgrade do-bridge`, or deploy the older relay with --allow-older."
            )

    def _check_places(self) -> None:
        """Raise RelayError for a place that the platform does not have."""
        for name, value, known in (
            ("RELAY_JURISDICTION", self.jurisdiction, JURISDICTIONS),
            ("RELAY_LOCATION", self.location, LOCATIONS),
        ):
            if value and value not in known:
                raise RelayError(
                    f"{name} is {value!r}. Nothing was deployed. Set it to one of {', '.join(known)}."
                )

    def find_database(self) -> None:
        """Find the D1 database by its name, or create it."""
        if self.database_id:
            return
        found = self.wrangler.databases().get(self.name)
        if found and not (self.settings.get("RELAY_URL") and self.settings.get("RELAY_TOKEN")):
            # A new token would lock the site's hosts out, and the jurisdiction is not known here.
            raise RelayError(
                f"The account has a D1 database {self.name!r}, so a relay of this name may be in use. Set "
                f"RELAY_URL and RELAY_TOKEN as they are in {self.settings.file}. If no relay uses it, set "
                f"CLOUDFLARE_DATABASE_ID={found}, or deploy under another name with --name."
            )
        if not found:
            found = self.wrangler.create_database(
                self.name, location=self.location, jurisdiction=self.jurisdiction
            )
            self._is_new = True
        self.settings.keep({"CLOUDFLARE_DATABASE_ID": found})

    def make_token(self) -> None:
        """Make the token that Django and the relay share, before the relay gets it."""
        self.settings.keep(self.chosen)
        if not self.settings.get("RELAY_TOKEN"):
            self.settings.keep({"RELAY_TOKEN": tokens.new_token()})

    def upload(self) -> None:
        """Upload code and tokens as one version.

        So no version serves with the tokens of another.
        """
        addresses = self.wrangler.deploy(self.configuration(), tokens.as_secrets(self.settings.tokens()))
        url = self.url or (addresses[0] if addresses else "")
        if not url:
            raise RelayError(
                "The relay is uploaded, but has no address. Enable workers.dev in Cloudflare's dashboard or "
                "give a domain with --domain, then run the command again."
            )
        self.settings.keep({"RELAY_URL": url})

    def wait(self) -> None:
        """Wait until the new version answers."""
        health.wait_for_version(self.url, self.version)

    def wait_for_objects(self) -> None:
        """Wait until the last object runs the new code.

        A busy object keeps the old code for `max_delay` seconds.
        """
        if self._is_new:
            return  # there are no objects yet
        strategy = bundle.configuration()["durable_objects"]["code_update_strategy"]
        time.sleep(strategy["max_delay"] + MARGIN)

    def check_project(self) -> None:
        """Raise RelayError if the project's settings would not lead to this relay."""
        self._manage(
            "--dry-run",
            failure="Nothing was deployed, because the project's settings cannot be used. The reason is "
            "above. Correct it, or deploy the relay alone with --no-migrate.",
        )

    def migrate(self) -> None:
        """Migrate D1, then the tenants."""
        self._manage(
            failure="The relay is deployed, but the migration failed. The reason is above. Correct it, "
            "then run the command again."
        )

    def _manage(self, *words: str, failure: str) -> None:
        url, database = self.url or UNKNOWN_URL, self.database_id or UNKNOWN_DATABASE
        place = self.jurisdiction or jurisdiction_of(self.settings.get(TENANT_DATABASE_URL))
        token = self.settings.get("RELAY_TOKEN") or "x" * tokens.SHORTEST
        own = {"RELAY_URL": url, "CLOUDFLARE_DATABASE_ID": database, "RELAY_TOKEN": token}
        for name, value in database_urls(url, token, database, jurisdiction=place).items():
            if not self.settings.get(name) or self.settings.get(name).startswith(("d1:", "do:")):
                own[name] = value
        behind = ["relay", "deploy", "--migrate-behind", url, "--database-id", database, *words]
        behind += ["--jurisdiction", self.jurisdiction] if self.jurisdiction else []
        command = project.manage_command(*behind)
        done = subprocess.run(command, env=self.settings.environment() | own, check=False)  # noqa: S603
        if done.returncode != 0:
            raise RelayError(failure)


def _served(jurisdiction: str) -> str:
    """Describe which objects a relay with this setting serves."""
    return f"the jurisdiction {jurisdiction!r} alone" if jurisdiction else "objects of any jurisdiction"
