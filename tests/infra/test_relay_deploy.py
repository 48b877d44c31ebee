"""`relay deploy` builds the right configuration, keeps what it made, and names what is wrong first."""

import http.server
import json
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from do_bridge import driver
from do_bridge.driver.places import D1_JURISDICTIONS, D1_LOCATIONS, JURISDICTIONS, LOCATIONS
from do_bridge.relay import RelayError, bundle, deploying, envfile, health, ports, tokens
from do_bridge.relay.__main__ import main
from do_bridge.relay.local import database_id
from do_bridge.relay.settings import Settings
from do_bridge.relay.wrangler import Wrangler, deployed_addresses
from do_bridge.version import __version__
from tests.infra.fake_cloudflare import DATABASE

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-relay-token-of-32-characters-00"
COMPLETE = {
    "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef0123456789abcdef",
    "CLOUDFLARE_API_TOKEN": "an-api-token",
    "CLOUDFLARE_DATABASE_ID": DATABASE.format(7),
    "RELAY_TOKEN": TOKEN,
}
SETTINGS = """
import os
INSTALLED_APPS = ["do_bridge", *INSTALLED_APPS]
DATABASES = {
    "default": {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": os.environ["CLOUDFLARE_DATABASE_ID"],
        "HOST": os.environ["RELAY_URL"],
        "PASSWORD": os.environ["RELAY_TOKEN"],
        "OPTIONS": {"transport": "relay"},
    }
}
"""

OBJECTS = """
DATABASES["main"] = {
    "ENGINE": "do_bridge.backends.durable_object",
    "NAME": "main",
    "HOST": os.environ["RELAY_URL"],
    "PASSWORD": os.environ["RELAY_TOKEN"],
    "OPTIONS": {},
}
"""
PLACED = '"OPTIONS": {"jurisdiction": os.environ["RELAY_JURISDICTION"]}'


@pytest.fixture
def project(folder, monkeypatch):
    """A project of `startproject` whose settings read the relay from the environment."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    subprocess.run([sys.executable, "-m", "django", "startproject", "shop", "."], check=True)
    settings = folder / "shop" / "settings.py"
    settings.write_text(settings.read_text() + SETTINGS)
    return folder


@pytest.fixture
def deployment(env_file):
    """Makes a Deployment with an env file of COMPLETE and other values."""
    made = []

    def make(**values):
        env_file(**COMPLETE | values)
        made.append(Wrangler(Settings(), print))
        return deploying.Deployment(made[-1].settings, made[-1])

    yield make
    for wrangler in made:
        wrangler._folder.cleanup()


def test_the_deployed_relay_binds_the_accounts_database_and_keeps_the_rest_of_the_local_one(deployment):
    config = deployment(RELAY_VERSION="v1").configuration()
    local = json.loads((bundle.SOURCE / "wrangler.jsonc").read_text())
    assert [(one["binding"], one["database_id"]) for one in config["d1_databases"]] == [
        ("DB", DATABASE.format(7))
    ]
    changed = {"D1_DATABASES": {DATABASE.format(7): "DB"}, "RELAY_VERSION": "v1"}
    assert config["vars"] == local["vars"] | changed
    for name in local.keys() - {"$schema", "main", "d1_databases", "vars"}:
        assert config[name] == local[name]


def test_a_deployed_relay_logs_a_sample_and_ends_its_sessions_before_their_cpu_ends(deployment):
    config = deployment().configuration()
    assert config["observability"] == {"enabled": True, "head_sampling_rate": 0.01}
    # It is an estimate: half is room for its errors.
    assert config["vars"]["SESSION_CPU_MS"] * 2 <= config["limits"]["cpu_ms"]
    assert config["vars"]["SESSION_CHECK_SECONDS"] < config["vars"]["SESSION_MAX_SECONDS"]


def test_name_place_and_domain_reach_the_configuration(deployment):
    chosen = {"RELAY_NAME": "shop", "RELAY_LOCATION": "weur", "RELAY_DOMAIN": "relay.example.com"}
    config = deployment(**chosen).configuration()
    assert (config["name"], config["d1_databases"][0]["database_name"]) == ("shop", "shop")
    assert config["vars"]["LOCATION_HINT"] == "weur"
    assert config["routes"] == [{"pattern": "relay.example.com", "custom_domain": True}]
    inside = deployment(RELAY_JURISDICTION="eu", RELAY_LOCATION="weur").configuration()
    assert (inside["vars"]["JURISDICTION"], inside["vars"]["LOCATION_HINT"]) == ("eu", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("RELAY_JURISDICTION", "ue"), ("RELAY_JURISDICTION", "EU"), ("RELAY_LOCATION", "here")],
)
def test_a_place_that_the_platform_does_not_have_is_not_deployed(deployment, name, value):
    with pytest.raises(RelayError, match=f"{name} is '{value}'. Nothing was deployed. Set it to one of"):
        deployment(**{name: value})


def test_the_choices_of_the_command_are_places_of_d1_and_of_objects():
    assert set(D1_JURISDICTIONS) <= set(JURISDICTIONS)
    assert set(D1_LOCATIONS) <= set(LOCATIONS)


def test_the_dry_run_shows_the_plan_and_what_wrangler_says_and_changes_nothing(folder, env_file, capsys):
    assert main(["deploy", "--dry-run", "--no-migrate", "--name", "shop", "--location", "weur"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^  \d\. (.*)\.$", said, re.M) == [
        "Expect no relay yet, because RELAY_URL is not set",
        "Create the D1 database shop in weur, unless it exists",
        "Keep RELAY_TOKEN in .env; make one if it is missing",
        f"Upload the relay of do_bridge {__version__} and its tokens as shop",
        "Wait until it answers with this version",
    ]
    assert "env.DB (shop)" in said
    assert "env.TENANTS (Tenant)" in said
    assert "DB_TEST" not in said
    assert list(folder.iterdir()) == []


def test_every_missing_setting_is_listed_at_once_with_its_meaning(env_file, capsys):
    env_file(RELAY_TOKEN="short", RELAY_URL="relay.example")
    assert main(["deploy", "--no-migrate"]) == 1
    said = capsys.readouterr().err
    for text in (
        "Nothing was deployed.",
        "CLOUDFLARE_ACCOUNT_ID: the account",
        "CLOUDFLARE_API_TOKEN: a token",
        "RELAY_URL: it must begin with https://",
        "RELAY_TOKEN: it must have at least 32 characters",
    ):
        assert text in said


@pytest.mark.parametrize(
    "values", [{"RELAY_URL": "http://127.0.0.1:8787"}, {"CLOUDFLARE_DATABASE_ID": database_id(0)}]
)
def test_the_settings_of_a_local_relay_are_refused_for_a_deploy(env_file, capsys, values):
    env_file(**COMPLETE | values)
    assert main(["deploy", "--no-migrate"]) == 1
    assert re.search(r"settings of the local relay.*--env-file \.env\.production", capsys.readouterr().err)


def test_a_file_that_is_given_is_the_only_source_of_a_relays_settings(env_file, monkeypatch):
    monkeypatch.setenv("RELAY_URL", "http://127.0.0.1:8787")
    monkeypatch.setenv("RELAY_TOKEN_TENANTS", "t" * 40)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "from-the-environment")
    env_file(".env.production", RELAY_TOKEN=TOKEN)
    settings = Settings(".env.production")
    assert settings.get("RELAY_URL") == ""
    assert settings.tokens() == {"RELAY_TOKEN": TOKEN}
    assert settings.get("CLOUDFLARE_API_TOKEN") == "from-the-environment"
    assert not {"RELAY_URL", "RELAY_TOKEN_TENANTS"} & settings.environment().keys()
    assert Settings().get("RELAY_URL") == "http://127.0.0.1:8787"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"RELAY_TOKEN": "short"}, "RELAY_TOKEN: it must have at least 32 characters"),
        (
            {"RELAY_TOKEN_TENANTS": "with a space in it, though it is long"},
            "RELAY_TOKEN_TENANTS: it must have",
        ),
        ({"RELAY_TOKEN_PREVIOUS": "é" * 40}, "RELAY_TOKEN_PREVIOUS: it must have"),
        ({"RELAY_TOKEN_DIRECTORY": TOKEN}, "RELAY_TOKEN_DIRECTORY: it must differ from RELAY_TOKEN"),
    ],
)
def test_a_token_that_is_weak_or_used_twice_is_refused_without_showing_it(env_file, settings, message):
    env_file(**COMPLETE | settings)
    with pytest.raises(RelayError, match=message) as caught:
        Settings().check_deployable()
    assert TOKEN not in str(caught.value)


def test_a_token_that_is_not_set_is_deployed_as_unset_because_wrangler_deletes_no_secret(deployment):
    made = deployment(RELAY_TOKEN_PREVIOUS="", RELAY_TOKEN_TENANTS="t" * 32)
    secrets = tokens.as_secrets(made.settings.tokens())
    assert set(secrets) == set(made.configuration()["secrets"]["required"])
    assert set(secrets.values()) == {TOKEN, "t" * 32, "unset"}


def test_a_project_without_manage_py_is_named_before_anything_is_deployed(env_file, capsys):
    env_file(**COMPLETE)
    assert main(["deploy"]) == 1
    assert "has no manage.py" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_against_a_fake_api_the_first_deploy_makes_everything_and_the_second_changes_nothing(
    project, env_file, cloudflare, capfd
):
    env_file(
        ".env.production",
        CLOUDFLARE_ACCOUNT_ID=COMPLETE["CLOUDFLARE_ACCOUNT_ID"],
        CLOUDFLARE_API_TOKEN="an-api-token",
        RELAY_URL=cloudflare.url,  # an address that a workers.dev of the fake does not have
    )
    arguments = ["deploy", "--env-file", ".env.production", "--location", "weur"]
    assert main(arguments) == 0, capfd.readouterr()
    said = capfd.readouterr()
    kept = envfile.read(project / ".env.production")
    assert cloudflare.databases[0]["primary_location_hint"] == "weur"
    assert kept["CLOUDFLARE_DATABASE_ID"] == DATABASE.format(0)
    assert kept["RELAY_LOCATION"] == "weur"
    assert len(kept["RELAY_TOKEN"]) > 32
    assert kept["RELAY_TOKEN"] not in said.out + said.err
    assert "an-api-token" not in said.out + said.err
    assert f"    RELAY_URL={cloudflare.url}\n    CLOUDFLARE_DATABASE_ID={DATABASE.format(0)}\n" in said.out
    assert stat.S_IMODE((project / ".env.production").stat().st_mode) == 0o600
    assert not (project / ".env").exists()
    # The project's own tables are there, by the relay that was uploaded.
    transport = driver.relay(cloudflare.url, kept["RELAY_TOKEN"])
    with driver.connect(transport, f"d1:{DATABASE.format(0)}") as connection:
        assert connection.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)
    transport.close()

    assert main(arguments) == 0
    assert envfile.read(project / ".env.production") == kept
    assert len(cloudflare.databases) == 1
    first, second = cloudflare.uploads
    assert first["RELAY_TOKEN"] == second["RELAY_TOKEN"]
    assert first["RELAY_VERSION"] != second["RELAY_VERSION"]


@pytest.mark.timeout(120)
def test_against_a_fake_api_an_upload_that_fails_keeps_the_token_for_the_next_try(
    env_file, cloudflare, capsys
):
    env_file(**COMPLETE | {"CLOUDFLARE_DATABASE_ID": "", "RELAY_TOKEN": "", "RELAY_URL": cloudflare.url})
    cloudflare.fail_uploads = True
    assert main(["deploy", "--no-migrate"]) == 1
    assert "The relay could not be uploaded. Correct the reason" in capsys.readouterr().err
    token = envfile.read(Path(".env"))["RELAY_TOKEN"]
    cloudflare.fail_uploads = False
    assert main(["deploy", "--no-migrate"]) == 0
    assert cloudflare.uploads[0]["RELAY_TOKEN"]["text"] == token
    assert len(cloudflare.databases) == 1


@pytest.mark.timeout(120)
def test_against_a_fake_api_a_refused_api_token_is_named_and_not_shown(env_file, cloudflare, capsys):
    env_file(**COMPLETE | {"CLOUDFLARE_DATABASE_ID": "", "CLOUDFLARE_API_TOKEN": "another-token-0123456789"})
    assert main(["deploy", "--no-migrate"]) == 1
    said = capsys.readouterr()
    assert "Cloudflare refused the API token. Check CLOUDFLARE_ACCOUNT_ID" in said.err
    assert "another-token" not in said.out + said.err


@pytest.mark.timeout(120)
def test_a_project_that_does_not_use_the_relay_is_named_before_anything_is_deployed(
    project, env_file, cloudflare, capfd
):
    settings = project / "shop" / "settings.py"
    settings.write_text(
        settings.read_text().replace('os.environ["RELAY_URL"]', '"https://elsewhere.example"')
    )
    env_file(**COMPLETE)
    assert main(["deploy"]) == 1
    said = capfd.readouterr().err
    assert (
        "The alias 'default' does not use the relay of this deployment. Read its HOST from RELAY_URL" in said
    )
    assert "Nothing was deployed" in said
    assert cloudflare.requests == []


@pytest.mark.timeout(120)
def test_a_project_whose_objects_the_relay_would_refuse_is_named_before_anything_is_deployed(
    project, env_file, cloudflare, capfd
):
    settings = project / "shop" / "settings.py"
    settings.write_text(settings.read_text() + OBJECTS)
    env_file(**COMPLETE)
    assert main(["deploy", "--jurisdiction", "eu"]) == 1
    said = capfd.readouterr().err
    assert "serves the jurisdiction 'eu' alone, and the objects of the alias 'main' are in no" in said
    assert "Nothing was deployed" in said
    assert cloudflare.requests == []
    settings.write_text(settings.read_text().replace('"OPTIONS": {}', PLACED))
    wrangler = Wrangler(Settings(), print)
    made = deploying.Deployment(wrangler.settings, wrangler, chosen={"RELAY_JURISDICTION": "eu"})
    assert made.check_project() is None
    wrangler._folder.cleanup()


@pytest.mark.timeout(120)
def test_against_a_fake_api_a_relay_whose_env_file_was_lost_keeps_its_token(env_file, cloudflare, capsys):
    cloudflare.databases.append({"uuid": DATABASE.format(3), "name": "do-bridge", "version": "production"})
    path = env_file(**COMPLETE | {"CLOUDFLARE_DATABASE_ID": "", "RELAY_TOKEN": ""})
    assert main(["deploy", "--no-migrate"]) == 1
    said = capsys.readouterr().err
    assert "a relay of this name may be in use. Set RELAY_URL and RELAY_TOKEN as they are" in said
    assert f"CLOUDFLARE_DATABASE_ID={DATABASE.format(3)}" in said
    assert cloudflare.uploads == []
    assert not envfile.read(path)["RELAY_TOKEN"]


def test_two_deployments_with_one_env_file_do_not_run_at_once(env_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DO_BRIDGE_CACHE", str(tmp_path / "cache"))
    env_file(**COMPLETE)
    with Settings().alone():
        assert main(["deploy", "--no-migrate"]) == 1
    assert "Another command deploys with .env. Wait until it has ended" in capsys.readouterr().err


def test_the_demo_reads_the_relay_from_the_environment(env_file, monkeypatch, capfd):
    path = env_file(**COMPLETE | {"SECRET_KEY": "a-secret-key-of-the-demo"})
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    wrangler = Wrangler(Settings(str(path)), print)
    assert deploying.Deployment(wrangler.settings, wrangler).check_project() is None
    wrangler._folder.cleanup()


def test_another_name_needs_an_env_file_of_its_own(env_file, capsys):
    env_file(**COMPLETE | {"RELAY_URL": "https://relay.example"})
    assert main(["deploy", "--no-migrate", "--name", "second"]) == 1
    assert "belongs to the relay do-bridge. Give each relay an env file of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("running", "message"),
    [
        ({"package": "99.0.0"}, r"is of do_bridge 99\.0\.0.*pip install --upgrade do-bridge"),
        (
            {"jurisdiction": "eu"},
            "serves the jurisdiction 'eu' alone.*any jurisdiction.*RELAY_JURISDICTION as",
        ),
    ],
)
def test_a_newer_relay_or_one_in_another_jurisdiction_is_not_replaced_by_a_fake_answer(
    deployment, monkeypatch, running, message
):
    answer = health.Health(version="v", **{"package": __version__, **running})
    monkeypatch.setattr(health, "read", lambda url: answer)
    made = deployment(RELAY_URL="https://relay.example")
    with pytest.raises(RelayError, match=message):
        made.compare()
    made.older = True
    made.jurisdiction = answer.jurisdiction
    assert made.compare() is None


@pytest.fixture
def versions():
    """A server whose /healthz answers the next of a list of versions, the last one for ever."""
    answers = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            version = answers.pop(0) if len(answers) > 1 else answers[0]
            body = json.dumps({"ok": True, "version": version}).encode()
            self.send_response(200 if version else 503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Keeps the test's output quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()
        thread.join()


def test_a_deploy_waits_until_its_own_version_answers_several_times(versions):
    url, answers = versions
    answers += ["old", "new", "old", "new", "new", "new", "later"]
    health.wait_for_version(url, "new", seconds=20, pause=0)
    assert answers == ["later"]


def test_a_version_that_never_comes_ends_with_the_last_answer(versions):
    url, answers = versions
    answers.append("old")
    with pytest.raises(RelayError, match=r"did not serve version new within 0\.3 s.*old"):
        health.wait_for_version(url, "new", seconds=0.3, pause=0.05)


def test_a_relay_without_its_secret_or_without_an_answer_is_told_apart(versions):
    url, answers = versions
    answers.append("")
    assert health.read(url).problem == "HTTP 503"
    assert "no usable answer" in health.read(f"http://127.0.0.1:{ports.free_port()}").problem


@pytest.mark.parametrize("body", [b"[]", b'"v1"', b"null", b'{"ok": true}', b"\xff", b"", b'{"version": "v'])
@pytest.mark.parametrize("announced", [0, 20])
def test_whatever_else_answers_at_the_relays_address_is_asked_again(body, announced):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + announced))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Keeps the test's output quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RelayError, match="Its last answer: (no usable answer|an answer without)"):
            health.wait_for_version(f"http://127.0.0.1:{server.server_port}", "v1", seconds=0.2, pause=0.05)
        server.shutdown()


def test_the_deployed_address_is_read_from_wranglers_report():
    report = "\n".join(
        json.dumps(entry)
        for entry in (
            {"type": "wrangler-session", "version": 1},
            {"type": "deploy", "version": 1, "targets": ["https://do-bridge.me.workers.dev", "*.example/x"]},
        )
    )
    assert deployed_addresses(report) == ["https://do-bridge.me.workers.dev"]
    assert deployed_addresses("") == []


def test_the_workflow_hands_every_token_to_the_relay_and_deploys_once():
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    for name in tokens.OPTIONAL_TOKENS:
        assert f"{name}: ${{{{ secrets.{name} }}}}" in workflow
    assert workflow.count("do_bridge.relay deploy") == 1
    # Its `secrets` make a second version, and its `migrate` would begin before busy objects run the new code.
    assert "wrangler-action" not in workflow
    assert "manage.py" not in workflow


def test_the_workers_version_and_protocol_are_those_of_the_package():
    text = (bundle.SOURCE / "src" / "version.ts").read_text()
    assert re.search(r'PACKAGE_VERSION = "(.*)"', text)[1] == __version__
    assert re.search(r"PROTOCOL = (\d+)", text)[1] == str(health.PROTOCOL)
    from do_bridge.driver.transports.relay_session import _SUBPROTOCOL

    assert f"do-bridge.v{health.PROTOCOL}" == _SUBPROTOCOL
