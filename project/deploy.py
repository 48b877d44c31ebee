"""Deploys the relay Worker to Cloudflare and brings the databases behind it to head: `make deploy`."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import environ

from project.serve import DATABASE_ID as LOCAL_DATABASE_ID
from worker.local import (
    OPTIONAL_TOKENS,
    UNSET,
    WORKER_DIR,
    LocalWorkerError,
    say,
    wrangler_command,
    write_private,
)

ROOT = Path(__file__).resolve().parent.parent
CONFIG = WORKER_DIR / "wrangler.jsonc"
DEPLOY_CONFIG = WORKER_DIR / "wrangler.deploy.jsonc"
REQUIRED = {
    "CLOUDFLARE_ACCOUNT_ID": "the account that the Worker runs in",
    "CLOUDFLARE_API_TOKEN": "a token that may edit Workers and D1 there",
    "CLOUDFLARE_DATABASE_ID": "the id that `wrangler d1 create` printed",
    "RELAY_TOKEN": "a long random text that Django and the Worker share",
    "SECRET_KEY": "Django's own secret, for the migrations",
}
# The Worker takes no shorter text for a secret: worker/src/auth.ts.
SHORTEST_TOKEN = 32
# Seconds that objects may take longer than they are given: the version reaches each place at its own time.
MARGIN = 10


class DeployError(RuntimeError):
    """The deploy cannot go on; the message says what to do."""


def deploy_config(local: dict[str, Any], database_id: str, version: str) -> dict[str, Any]:
    """The Worker's configuration for an account: its own database instead of this machine's, no test ones.

    version: what /healthz answers once this deploy is what serves.
    """
    main = next(entry for entry in local["d1_databases"] if entry["binding"] == "DB")
    variables = local["vars"] | {"D1_DATABASES": {database_id: "DB"}, "RELAY_VERSION": version}
    return local | {"d1_databases": [main | {"database_id": database_id}], "vars": variables}


def check_settings(settings: dict[str, str], *, migrates: bool = True) -> None:
    """Raises DeployError that lists every setting which is missing, too weak or still this machine's."""
    required = {name: meaning for name, meaning in REQUIRED.items() if migrates or name != "SECRET_KEY"}
    missing = [f"  {name}: {meaning}" for name, meaning in required.items() if not settings.get(name)]
    if migrates and settings.get("D1_TRANSPORT") == "rest" and not settings.get("CLOUDFLARE_D1_TOKEN"):
        missing.append("  CLOUDFLARE_D1_TOKEN: D1_TRANSPORT is rest, by which D1 would be migrated")
    if settings.get("CLOUDFLARE_DATABASE_ID") == LOCAL_DATABASE_ID:
        missing.append(
            "  CLOUDFLARE_DATABASE_ID: it is that of `make run`, which exists on this machine alone"
        )
    if settings.get("RELAY_URL", "").startswith(("http://127.", "http://localhost")):
        missing.append(
            "  RELAY_URL: it is that of `make run`; leave it empty until the first deploy tells it"
        )
    elif settings.get("RELAY_URL") and not settings["RELAY_URL"].startswith(("https://", "http://")):
        missing.append("  RELAY_URL: it must begin with https://")
    missing += bad_tokens(settings)
    if missing:
        listing = "\n".join(missing)
        raise DeployError(f"Not deployed. Set in .env or in the environment (see the README):\n{listing}")


def relay_tokens(settings: dict[str, str]) -> dict[str, str]:
    """Every token of the Worker by its secret's name; what is not set is said so, which ends an old one."""
    return {name: settings.get(name) or UNSET for name in ("RELAY_TOKEN", *OPTIONAL_TOKENS)}


def bad_tokens(settings: dict[str, str]) -> list[str]:
    """A line for each token that the Worker would not take for a secret, or that has another one's text."""
    given = {name: text for name, text in relay_tokens(settings).items() if settings.get(name)}
    lines = []
    for name, text in given.items():
        if len(text) < SHORTEST_TOKEN or not (text.isascii() and text.isprintable() and " " not in text):
            lines.append(f"  {name}: it must have {SHORTEST_TOKEN} characters or more, and no spaces")
        same = next(other for other in given if given[other] == text)
        if same != name:
            lines.append(f"  {name}: it must be another text than {same}")
    return lines


def write_config(database_id: str, version: str) -> None:
    """Writes worker/wrangler.deploy.jsonc."""
    local = json.loads(CONFIG.read_text())  # plain JSON, whatever its name says
    DEPLOY_CONFIG.write_text(json.dumps(deploy_config(local, database_id, version), indent=2) + "\n")


def deploy_worker(settings: dict[str, str]) -> list[str]:
    """Uploads code and secrets as one version; the addresses at which it is served. Raises DeployError."""
    with tempfile.TemporaryDirectory(prefix="deploy-") as folder:
        secrets_file, output = Path(folder, "secrets.json"), Path(folder, "output.ndjson")
        write_private(secrets_file, json.dumps(relay_tokens(settings)))
        command = [
            *wrangler_command(),
            *("deploy", "--config", str(DEPLOY_CONFIG), "--secrets-file", str(secrets_file)),
        ]
        # The tokens reach wrangler through a private file alone.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_TOKEN")}
        account = {name: settings[name] for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN")}
        quiet = {"WRANGLER_SEND_METRICS": "false", "WRANGLER_OUTPUT_FILE_PATH": str(output)}
        done = subprocess.run(command, cwd=WORKER_DIR, env=inherited | account | quiet, check=False)  # noqa: S603
        if done.returncode != 0:
            raise DeployError("wrangler could not deploy the Worker; its reason stands above.")
        return deployed_addresses(output.read_text() if output.exists() else "")


def deployed_addresses(output: str) -> list[str]:
    """The addresses in what wrangler writes to WRANGLER_OUTPUT_FILE_PATH, one JSON object a line."""
    entries = [json.loads(line) for line in output.splitlines() if line.strip()]
    targets = [
        target for entry in entries if entry.get("type") == "deploy" for target in entry["targets"] or []
    ]
    return [target for target in targets if target.startswith("https://")]


def answered_version(url: str) -> str:
    """The version that answers at a relay, or a word on what answers instead."""
    request = urllib.request.Request(f"{url.rstrip('/')}/healthz", headers={"User-Agent": "do-bridge-deploy"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no usable answer ({type(error).__name__})"
    version = body.get("version") if isinstance(body, dict) else None
    return str(version or "something without a version")


def wait_for_version(
    url: str, version: str, *, seconds: float = 180, pause: float = 1, times: int = 3
) -> None:
    """Returns when the relay answered `times` in a row with this version. Raises DeployError at the deadline.

    seconds: how long to wait in all. pause: seconds between two questions.
    """
    deadline = time.monotonic() + seconds
    seen, answer = 0, ""
    while time.monotonic() < deadline:
        answer = answered_version(url)
        seen = seen + 1 if answer == version else 0
        if seen == times:
            return
        time.sleep(pause)
    raise DeployError(
        f"{url} did not serve version {version} within {seconds:g} s; the last answer: {answer}."
    )


def wait_for_objects(config: dict[str, Any]) -> None:
    """Waits until the last object runs the new code: a busy one keeps the old for `max_delay` seconds."""
    seconds = config["durable_objects"]["code_update_strategy"]["max_delay"] + MARGIN
    say(f"Waiting {seconds} s until busy objects run it, too…")
    time.sleep(seconds)


def migrate(url: str) -> None:
    """D1's migrations, then the tenants'. Raises DeployError when one of the two fails."""
    for database in ("default", "tenant"):
        say(f"Migrating {database}…")
        command = [sys.executable, "manage.py", "migrate", "--database", database]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"RELAY_URL": url}, check=False)  # noqa: S603
        if done.returncode != 0:
            raise DeployError(
                f"The Worker is deployed, but `migrate --database {database}` failed: see above."
            )


def deploy(settings: dict[str, str], *, migrates: bool = True) -> None:
    """The Worker, and with `migrates` this site's databases. Raises DeployError or LocalWorkerError."""
    check_settings(settings, migrates=migrates)
    version = settings.get("RELAY_VERSION") or secrets.token_hex(8)
    write_config(settings["CLOUDFLARE_DATABASE_ID"], version)
    say(f"Deploying the Worker, version {version}…")
    addresses = deploy_worker(settings)
    url = settings.get("RELAY_URL") or (addresses[0] if addresses else "")
    if not url:
        raise DeployError("The Worker is deployed, but at no address; set RELAY_URL to one of its routes.")
    if not settings.get("RELAY_URL"):
        say(f"The relay's address; put it into .env, and wherever Django runs:\n\n    RELAY_URL={url}\n")
    say(f"Waiting until {url} serves it…")
    wait_for_version(url, version)
    if not migrates:
        say("Deployed: the Worker answers. Migrate your own project now, with its manage.py.")
        return
    wait_for_objects(json.loads(CONFIG.read_text()))
    migrate(url)
    say("Deployed: the Worker answers, D1 and the tenants are at head.")


def main(arguments: list[str]) -> int:
    """No argument: all of it; `worker`: the Worker alone, for another project."""
    if (ROOT / ".env").is_file():
        environ.Env.read_env(ROOT / ".env")
    try:
        deploy(dict(os.environ), migrates=arguments != ["worker"])
    except (DeployError, LocalWorkerError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
