"""`relay token rotate` and `relay logs`: real wrangler against a fake API, and a real relay behind it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from websockets.sync.server import serve

from do_bridge import driver
from do_bridge.relay import envfile
from do_bridge.relay.__main__ import main
from tests.infra.fake_cloudflare import DATABASE

ROOT = Path(__file__).resolve().parents[2]
OLD = "the-old-token-of-the-relay-0123456789"
ACCOUNT = {
    "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef0123456789abcdef",
    "CLOUDFLARE_API_TOKEN": "an-api-token",
    "CLOUDFLARE_DATABASE_ID": DATABASE.format(7),
}


@pytest.fixture
def deployed(env_file, cloudflare):
    """A relay that was deployed with OLD, and its env file."""
    path = env_file(**ACCOUNT, RELAY_URL=cloudflare.url, RELAY_TOKEN=OLD)
    assert main(["deploy", "--no-migrate"]) == 0
    return path


def works(url, token):
    """Whether a token opens a session."""
    transport = driver.relay(url, token)
    try:
        driver.connect(transport, "do:test/token").execute("SELECT 1")
    except driver.OperationalError as error:
        assert "RELAY_TOKEN" in str(error)
        return False
    finally:
        transport.close()
    return True


@pytest.mark.timeout(240)
def test_a_token_is_replaced_in_three_steps_of_which_each_can_be_repeated(deployed, cloudflare, capsys):
    capsys.readouterr()
    for _ in range(2):  # as after an interruption
        assert main(["token", "rotate"]) == 0
        said = capsys.readouterr().out
        settings = envfile.read(deployed)
        assert settings["RELAY_TOKEN_PREVIOUS"] == OLD
        assert works(cloudflare.url, OLD)
        assert works(cloudflare.url, settings["RELAY_TOKEN"])
        assert "The relay accepts both tokens." in said
        assert "Then run: manage.py relay token rotate --finish" in said
    assert "a rotation of RELAY_TOKEN has begun. Repeating step 1." in said
    assert main(["token", "rotate", "--finish"]) == 0
    assert envfile.read(deployed) == settings | {"RELAY_TOKEN_PREVIOUS": ""}
    assert not works(cloudflare.url, OLD)
    assert works(cloudflare.url, settings["RELAY_TOKEN"])
    said += capsys.readouterr().out
    assert OLD not in said
    assert settings["RELAY_TOKEN"] not in said
    assert main(["token", "rotate", "--finish"]) == 1
    assert "no rotation of RELAY_TOKEN has begun. Begin one without --finish" in capsys.readouterr().err


@pytest.mark.timeout(120)
def test_a_leaked_token_opens_nothing_after_the_first_step(deployed, cloudflare, capsys):
    assert main(["token", "rotate", "--leaked"]) == 0
    assert not works(cloudflare.url, OLD)
    assert works(cloudflare.url, envfile.read(deployed)["RELAY_TOKEN"])
    assert "The relay accepts only the new token." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "environment", "message"),
    [
        ({"RELAY_TOKEN": OLD}, {}, "RELAY_URL is not set.*`manage.py relay deploy` first"),
        ({"RELAY_URL": "https://a.example"}, {}, "RELAY_TOKEN is not set, so there is nothing to replace"),
        (
            {"RELAY_URL": "https://a.example"},
            {"RELAY_TOKEN": OLD},
            r"RELAY_TOKEN comes from the environment and not from \.env.*--env-file",
        ),
    ],
)
def test_a_rotation_that_cannot_begin_names_the_setting(
    env_file, monkeypatch, capsys, file, environment, message
):
    path = env_file(**ACCOUNT | file)
    before = path.read_text()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["token", "rotate"]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert path.read_text() == before


EVENT = {
    "outcome": "ok",
    "scriptName": "do-bridge",
    "exceptions": [],
    "logs": [{"message": ["a line of the relay"], "level": "log", "timestamp": 0}],
    "eventTimestamp": 0,
    "event": {
        "request": {"url": "https://relay.example/healthz", "method": "GET", "headers": {}, "cf": {}},
        "response": {"status": 200},
    },
}


@pytest.mark.timeout(120)
def test_against_a_fake_api_the_logs_are_shown_until_ctrl_c(env_file, cloudflare):
    env_file(**ACCOUNT)

    def tail(connection):
        connection.send(json.dumps(EVENT).encode())
        for _ in connection:
            pass

    with serve(tail, "127.0.0.1", 0, subprotocols=["trace-v1"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cloudflare.tail_url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "do_bridge.relay", "logs", "--json"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said = ""
            while "a line of the relay" not in said:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                said += line
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
        server.shutdown()
    assert process.returncode == 0
    assert "POST /workers/scripts/do-bridge/tails" in cloudflare.requests


def test_logs_without_an_account_name_what_is_missing(env_file, capsys):
    env_file(CLOUDFLARE_ACCOUNT_ID="given")
    assert main(["logs"]) == 1
    said = capsys.readouterr().err
    assert "CLOUDFLARE_API_TOKEN: a token that may edit Workers" in said
    assert "CLOUDFLARE_ACCOUNT_ID" not in said
