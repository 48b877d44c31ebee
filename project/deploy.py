"""Deploy the relay Worker to Cloudflare and migrate the databases behind it: `make deploy`."""

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

from do_bridge.relay.bundle import SOURCE as WORKER_DIR
from do_bridge.relay.envfile import write_private
from do_bridge.relay.errors import RelayError as LocalWorkerError
from do_bridge.relay.local import database_id
from do_bridge.relay.terminal import say
from do_bridge.relay.tokens import OPTIONAL_TOKENS, UNSET
from do_bridge.relay.tools import wrangler_command as command_of

LOCAL_DATABASE_ID = database_id(0)
ROOT = Path(__file__).resolve().parent.parent
CONFIG = WORKER_DIR / "wrangler.jsonc"
DEPLOY_CONFIG = WORKER_DIR / "wrangler.deploy.jsonc"
REQUIRED = {
    "CLOUDFLARE_ACCOUNT_ID": "the account that the Worker runs in",
    "CLOUDFLARE_API_TOKEN": "a token that may edit Workers and D1 in it",
    "CLOUDFLARE_DATABASE_ID": "the id that `wrangler d1 create` printed",
    "RELAY_TOKEN": "a long random text that Django and the Worker share",
    "SECRET_KEY": "Django's own secret, for the migrations",
}
# The Worker accepts no shorter text as a secret: worker/src/auth.ts.
SHORTEST_TOKEN = 32
# Seconds added to the objects' update time, because the version reaches each place at its own time.
MARGIN = 10


class DeployError(RuntimeError):
    """The deploy cannot go on; the message gives the next step."""


def deploy_config(local: dict[str, Any], database_id: str, version: str) -> dict[str, Any]:
    """Return the Worker's configuration for an account: with its own database, and without the test ones.

    version: the version that /healthz returns once this deploy serves.
    """
    main = next(entry for entry in local["d1_databases"] if entry["binding"] == "DB")
    variables = local["vars"] | {"D1_DATABASES": {database_id: "DB"}, "RELAY_VERSION": version}
    return local | {"d1_databases": [main | {"database_id": database_id}], "vars": variables}


def check_settings(settings: dict[str, str], *, migrates: bool = True) -> None:
    """Raise DeployError with every setting that is missing, too weak or still this machine's."""
    required = {name: meaning for name, meaning in REQUIRED.items() if migrates or name != "SECRET_KEY"}
    missing = [f"  {name}: {meaning}" for name, meaning in required.items() if not settings.get(name)]
    if migrates and settings.get("D1_TRANSPORT") == "rest" and not settings.get("CLOUDFLARE_D1_TOKEN"):
        missing.append(" CLOUDFLARE_D1_TOKEN: needed to migrate D1, because D1_TRANSPORT is rest")
    if settings.get("CLOUDFLARE_DATABASE_ID") == LOCAL_DATABASE_ID:
        missing.append(
            " CLOUDFLARE_DATABASE_ID: it is the local one of `make run`; set the id that `wrangler "
            "d1 create` printed"
        )
    if settings.get("RELAY_URL", "").startswith(("http://127.", "http://localhost")):
        missing.append(
            " RELAY_URL: it is the local one of `make run`; leave it empty, and the first deploy prints it"
        )
    elif settings.get("RELAY_URL") and not settings["RELAY_URL"].startswith(("https://", "http://")):
        missing.append(" RELAY_URL: it must begin with https://")
    missing += bad_tokens(settings)
    if missing:
        listing = "\n".join(missing)
        raise DeployError(
            f"Not deployed. Set these in .env or in the environment (see the README):\n{listing}"
        )


def relay_tokens(settings: dict[str, str]) -> dict[str, str]:
    """Return every token of the Worker by its secret's name; an unset one replaces an old token."""
    return {name: settings.get(name) or UNSET for name in ("RELAY_TOKEN", *OPTIONAL_TOKENS)}


def bad_tokens(settings: dict[str, str]) -> list[str]:
    """Return a line for each token that the Worker would not accept, or that repeats another one."""
    given = {name: text for name, text in relay_tokens(settings).items() if settings.get(name)}
    lines = []
    for name, text in given.items():
        if len(text) < SHORTEST_TOKEN or not (text.isascii() and text.isprintable() and " " not in text):
            lines.append(f" {name}: it must have at least {SHORTEST_TOKEN} characters, without spaces")
        same = next(other for other in given if given[other] == text)
        if same != name:
            lines.append(f" {name}: it must differ from {same}")
    return lines


def write_config(database_id: str, version: str) -> None:
    """Write worker/wrangler.deploy.jsonc."""
    local = json.loads(CONFIG.read_text())  # plain JSON, despite its name
    DEPLOY_CONFIG.write_text(json.dumps(deploy_config(local, database_id, version), indent=2) + "\n")


def deploy_worker(settings: dict[str, str]) -> list[str]:
    """Upload code and secrets as one version; return the addresses that serve it. Raises DeployError."""
    with tempfile.TemporaryDirectory(prefix="deploy-") as folder:
        secrets_file, output = Path(folder, "secrets.json"), Path(folder, "output.ndjson")
        write_private(secrets_file, json.dumps(relay_tokens(settings)))
        command = [
            *command_of(WORKER_DIR),
            *("deploy", "--config", str(DEPLOY_CONFIG), "--secrets-file", str(secrets_file)),
        ]
        # The tokens reach wrangler only through a private file.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_TOKEN")}
        account = {name: settings[name] for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN")}
        quiet = {"WRANGLER_SEND_METRICS": "false", "WRANGLER_OUTPUT_FILE_PATH": str(output)}
        done = subprocess.run(command, cwd=WORKER_DIR, env=inherited | account | quiet, check=False)  # noqa: S603
        if done.returncode != 0:
            raise DeployError("wrangler could not deploy the Worker. The reason is above.")
        return deployed_addresses(output.read_text() if output.exists() else "")


def deployed_addresses(output: str) -> list[str]:
    """Return the addresses that wrangler wrote to WRANGLER_OUTPUT_FILE_PATH, one JSON object a line."""
    entries = [json.loads(line) for line in output.splitlines() if line.strip()]
    targets = [
        target for entry in entries if entry.get("type") == "deploy" for target in entry["targets"] or []
    ]
    return [target for target in targets if target.startswith("https://")]


def answered_version(url: str) -> str:
    """Return the version that a relay reports, or a description of another answer."""
    request = urllib.request.Request(f"{url.rstrip('/')}/healthz", headers={"User-Agent": "do-bridge-deploy"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no usable answer ({type(error).__name__})"
    version = body.get("version") if isinstance(body, dict) else None
    return str(version or "an answer without a version")


def wait_for_version(
    url: str, version: str, *, seconds: float = 180, pause: float = 1, times: int = 3
) -> None:
    """Return once the relay has reported this version `times` in a row. Raises DeployError at the deadline.

    seconds: the time to wait in all. pause: seconds between two requests.
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
        f"{url} did not serve version {version} within {seconds:g} s. Its last answer: {answer}. "
        "Check RELAY_URL, then run `make deploy` again."
    )


def wait_for_objects(config: dict[str, Any]) -> None:
    """Wait until the last object runs the new code: a busy one keeps the old for `max_delay` seconds."""
    seconds = config["durable_objects"]["code_update_strategy"]["max_delay"] + MARGIN
    say(f"Waiting {seconds} s until busy objects run it, too…")
    time.sleep(seconds)


def migrate(url: str) -> None:
    """Migrate D1, then the tenants. Raises DeployError if one of the two fails."""
    for database in ("default", "tenant"):
        say(f"Migrating {database}…")
        command = [sys.executable, "manage.py", "migrate", "--database", database]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"RELAY_URL": url}, check=False)  # noqa: S603
        if done.returncode != 0:
            raise DeployError(
                f"The Worker is deployed, but `manage.py migrate --database {database}` failed. "
                "The reason is above. Correct it, then run `make deploy` again."
            )


def deploy(settings: dict[str, str], *, migrates: bool = True) -> None:
    """Deploy the Worker, and with `migrates` migrate. Raises DeployError or LocalWorkerError."""
    check_settings(settings, migrates=migrates)
    version = settings.get("RELAY_VERSION") or secrets.token_hex(8)
    write_config(settings["CLOUDFLARE_DATABASE_ID"], version)
    say(f"Deploying the Worker, version {version}…")
    addresses = deploy_worker(settings)
    url = settings.get("RELAY_URL") or (addresses[0] if addresses else "")
    if not url:
        raise DeployError(
            "The Worker is deployed, but without an address. Add a route or enable workers.dev, and "
            "set RELAY_URL to the address."
        )
    if not settings.get("RELAY_URL"):
        say(f"Put the address of the relay into .env, and wherever Django runs:\n\n    RELAY_URL={url}\n")
    say(f"Waiting until {url} serves it…")
    wait_for_version(url, version)
    if not migrates:
        say("Deployed: the Worker answers. Now migrate your own project with its manage.py.")
        return
    wait_for_objects(json.loads(CONFIG.read_text()))
    migrate(url)
    say("Deployed: the Worker answers, D1 and the tenants are up to date.")


def main(arguments: list[str]) -> int:
    """Run all of it without an argument; with `worker` the Worker alone, for another project."""
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
