"""The deploy builds the right configuration, waits for its own version, and says what is missing."""

import http.server
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from do_bridge.relay import ports, tokens, tools
from project import deploy

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "11111111-2222-4333-8444-555555555555"
TOKEN = "a-relay-token-of-32-characters-00"
COMPLETE = dict.fromkeys(deploy.REQUIRED, "given") | {
    "CLOUDFLARE_DATABASE_ID": DATABASE,
    "RELAY_TOKEN": TOKEN,
}


def local_config():
    return json.loads(deploy.CONFIG.read_text())


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


def test_the_deployed_worker_binds_the_accounts_database_and_no_test_database():
    config = deploy.deploy_config(local_config(), DATABASE, "v1")
    assert [(entry["binding"], entry["database_id"]) for entry in config["d1_databases"]] == [
        ("DB", DATABASE)
    ]
    assert config["vars"]["D1_DATABASES"] == {DATABASE: "DB"}
    assert config["vars"]["RELAY_VERSION"] == "v1"


def test_the_deployed_worker_keeps_everything_else_of_the_local_one():
    before = local_config()
    after = deploy.deploy_config(before, DATABASE, "v1")
    for name in before.keys() - {"d1_databases", "vars"}:
        assert after[name] == before[name]
    assert before == local_config()


def test_the_deployed_worker_keeps_a_sample_of_its_logs_alone():
    assert local_config()["observability"] == {"enabled": True, "head_sampling_rate": 0.01}


def test_a_session_ends_before_its_cpu_does_and_is_compared_more_often_than_it_ends():
    config = local_config()
    # It is an estimate: half is room for its errors.
    assert config["vars"]["SESSION_CPU_MS"] * 2 <= config["limits"]["cpu_ms"]
    assert config["vars"]["SESSION_CHECK_SECONDS"] < config["vars"]["SESSION_MAX_SECONDS"]


def test_wrangler_accepts_the_configuration_for_deploying(tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "DEPLOY_CONFIG", deploy.WORKER_DIR / f"wrangler.deploy.{os.getpid()}.jsonc")
    try:
        deploy.write_config(DATABASE, "v1")
        command = [*tools.wrangler_command(), "deploy", "--dry-run", "--outdir", str(tmp_path)]
        done = subprocess.run(
            [*command, "--config", str(deploy.DEPLOY_CONFIG)],
            cwd=deploy.WORKER_DIR,
            env=os.environ | {"WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true"},
            capture_output=True,
            text=True,
        )
    finally:
        deploy.DEPLOY_CONFIG.unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert "env.DB (" in done.stdout
    assert "DB_TEST" not in done.stdout


def test_every_missing_setting_is_listed_at_once_with_its_meaning():
    with pytest.raises(deploy.DeployError) as caught:
        deploy.check_settings({"RELAY_TOKEN": TOKEN})
    for name, meaning in deploy.REQUIRED.items():
        assert (f"{name}: {meaning}" in str(caught.value)) == (name != "RELAY_TOKEN")


def test_the_settings_of_this_machine_are_refused_for_a_deploy():
    settings = COMPLETE | {
        "CLOUDFLARE_DATABASE_ID": deploy.LOCAL_DATABASE_ID,
        "RELAY_URL": "http://127.0.0.1:8787",
    }
    with pytest.raises(
        deploy.DeployError, match=r"(?s)CLOUDFLARE_DATABASE_ID.*make run.*RELAY_URL.*make run"
    ):
        deploy.check_settings(settings)


def test_a_token_that_is_not_set_is_deployed_as_none_because_wrangler_deletes_no_secret():
    tokens = deploy.relay_tokens(COMPLETE | {"RELAY_TOKEN_PREVIOUS": "", "RELAY_TOKEN_TENANTS": "t" * 32})
    assert set(tokens) == set(local_config()["secrets"]["required"])
    assert tokens["RELAY_TOKEN"] == TOKEN
    assert tokens["RELAY_TOKEN_TENANTS"] == "t" * 32
    assert set(tokens.values()) == {TOKEN, "t" * 32, "unset"}


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
def test_a_token_that_is_weak_or_used_twice_is_refused_for_a_deploy(settings, message):
    with pytest.raises(deploy.DeployError, match=message) as caught:
        deploy.check_settings(COMPLETE | settings)
    assert TOKEN not in str(caught.value)


def test_the_workflow_hands_every_token_to_the_worker():
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    for name in tokens.OPTIONAL_TOKENS:
        assert f"{name}: ${{{{ secrets.{name} }}}}" in workflow


def test_the_workflow_deploys_once():
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    assert workflow.count("project.deploy") == 1
    # Its `secrets` make a second version, and its `migrate` would begin before busy objects run the new code.
    assert "wrangler-action" not in workflow
    assert "manage.py" not in workflow


def test_a_deploy_migrates_once_even_busy_objects_run_the_new_code(monkeypatch):
    steps = []
    monkeypatch.setattr(deploy, "write_config", lambda *given: steps.append("config"))
    monkeypatch.setattr(deploy, "deploy_worker", lambda settings: ["https://relay.example"])
    monkeypatch.setattr(deploy, "wait_for_version", lambda url, version: steps.append(url))
    monkeypatch.setattr(deploy.time, "sleep", steps.append)
    monkeypatch.setattr(deploy, "migrate", lambda url: steps.append("migrate"))
    deploy.deploy(COMPLETE)
    strategy = local_config()["durable_objects"]["code_update_strategy"]
    assert strategy == {"mode": "deferred", "max_delay": 30}
    assert steps == ["config", "https://relay.example", 40, "migrate"]


def test_a_token_that_the_migrations_will_need_is_missed_before_anything_is_deployed():
    with pytest.raises(deploy.DeployError, match="CLOUDFLARE_D1_TOKEN"):
        deploy.check_settings(COMPLETE | {"D1_TRANSPORT": "rest", "CLOUDFLARE_D1_TOKEN": ""})
    deploy.check_settings(COMPLETE | {"D1_TRANSPORT": "rest", "CLOUDFLARE_D1_TOKEN": "given"})


def test_complete_settings_pass_without_a_relay_url():
    assert deploy.check_settings(COMPLETE) is None


def test_a_deploy_waits_until_its_own_version_answers_several_times(versions):
    url, answers = versions
    answers += ["old", "new", "old", "new", "new", "new", "later"]
    deploy.wait_for_version(url, "new", seconds=20, pause=0)
    assert answers == ["later"]


def test_a_version_that_never_comes_ends_with_the_last_answer(versions):
    url, answers = versions
    answers.append("old")
    with pytest.raises(deploy.DeployError, match=r"did not serve version new within 0\.3 s.*old"):
        deploy.wait_for_version(url, "new", seconds=0.3, pause=0.05)


def test_a_relay_without_its_secret_or_without_an_answer_is_told_apart(versions):
    url, answers = versions
    answers.append("")
    assert deploy.answered_version(url) == "HTTP 503"
    assert "no usable answer" in deploy.answered_version(f"http://127.0.0.1:{ports.free_port()}")


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
        with pytest.raises(deploy.DeployError, match="Its last answer: (no usable answer|an answer without)"):
            deploy.wait_for_version(f"http://127.0.0.1:{server.server_port}", "v1", seconds=0.2, pause=0.05)
        server.shutdown()


@pytest.mark.parametrize("url", ["relay.example", "wss://relay.example"])
def test_an_address_that_cannot_be_asked_is_refused_before_anything_is_deployed(url):
    with pytest.raises(deploy.DeployError, match="RELAY_URL: it must begin with https://"):
        deploy.check_settings(COMPLETE | {"RELAY_URL": url})


def test_the_local_worker_answers_with_the_version_of_its_configuration(local_worker):
    assert deploy.answered_version(local_worker.url) == local_config()["vars"]["RELAY_VERSION"]


def test_the_deployed_address_is_read_from_wranglers_report():
    report = "\n".join(
        json.dumps(entry)
        for entry in (
            {"type": "wrangler-session", "version": 1},
            {"type": "deploy", "version": 1, "targets": ["https://do-bridge.me.workers.dev", "*.example/x"]},
        )
    )
    assert deploy.deployed_addresses(report) == ["https://do-bridge.me.workers.dev"]
    assert deploy.deployed_addresses("") == []


@pytest.mark.parametrize("arguments", [[], ["worker"]])
def test_the_worker_alone_is_deployed_without_a_migration_for_a_project_of_ones_own(
    monkeypatch, tmp_path, capsys, arguments
):
    done = []
    monkeypatch.setattr(deploy, "ROOT", tmp_path)  # no .env
    monkeypatch.setattr(deploy, "DEPLOY_CONFIG", tmp_path / "wrangler.deploy.jsonc")
    # wrangler would need an account.
    monkeypatch.setattr(
        deploy, "deploy_worker", lambda settings: done.append("worker") or ["https://a.example"]
    )
    monkeypatch.setattr(deploy, "wait_for_version", lambda url, version: done.append("wait"))
    monkeypatch.setattr(deploy, "wait_for_objects", lambda config: done.append("wait for objects"))
    monkeypatch.setattr(deploy, "migrate", lambda url: done.append("migrate"))
    given = COMPLETE | {"RELAY_URL": "", "D1_TRANSPORT": "", **dict.fromkeys(tokens.OPTIONAL_TOKENS, "")}
    if arguments:
        del given["SECRET_KEY"]
        monkeypatch.delenv("SECRET_KEY")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert deploy.main(arguments) == 0
    assert done == ["worker", "wait", *([] if arguments else ["wait for objects", "migrate"])]
    assert ("Now migrate your own project" in capsys.readouterr().out) == bool(arguments)
