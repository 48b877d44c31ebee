"""The package's local relay starts from its bundle, keeps its data, and ends with whoever started it."""

import os
import socket
import stat
import urllib.request
from pathlib import Path

import pytest

from do_bridge import driver
from do_bridge.relay import LocalRelay, RelayError, processes
from do_bridge.relay.urls import database_urls, is_other, jurisdiction_of


def test_a_local_relay_serves_d1_and_objects_and_its_data_outlive_it(tmp_path):
    for round_ in range(2):
        with LocalRelay(tmp_path) as relay:
            transport = driver.relay(relay.url, relay.token)
            for database in (f"d1:{relay.database_ids[0]}", f"d1:{relay.database_ids[8]}", "do:tenant/acme"):
                connection = driver.connect(transport, database)
                connection.execute("CREATE TABLE IF NOT EXISTS t (v)")
                connection.execute("INSERT INTO t VALUES (1)")
                assert connection.execute("SELECT count(*) FROM t").fetchone() == (round_ + 1,)
            transport.close()
            group, token = relay.pid, relay.token
        assert processes.group_members(group) == {}
        assert (tmp_path / "relay-token").read_text() == token + "\n"
        assert stat.S_IMODE((tmp_path / "relay-token").stat().st_mode) == 0o600


def test_a_local_relay_without_a_folder_leaves_nothing_behind():
    with LocalRelay(databases=1) as relay:
        folder = relay.folder
        assert relay.settings() == {
            "RELAY_URL": relay.url,
            "RELAY_TOKEN": relay.token,
            "CLOUDFLARE_DATABASE_ID": "d0b41d9e-0000-4000-8000-000000000000",
        }
        assert folder.exists()
        with urllib.request.urlopen(f"{relay.url}/healthz", timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
    assert not folder.exists()


def test_two_relays_cannot_use_one_folder(tmp_path):
    with LocalRelay(tmp_path), pytest.raises(RelayError, match="Another local relay uses .* another folder"):
        LocalRelay(tmp_path).start()


def test_a_taken_port_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RelayError, match=f"Port {port} .*choose another port"):
            LocalRelay(port=port).start()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RelayError, match="The data folder .* cannot be written .*Choose another folder"):
            LocalRelay(folder).start()


def test_a_relay_that_was_killed_says_so_when_its_answer_is_awaited(tmp_path):
    with LocalRelay(tmp_path) as relay:
        os.killpg(relay.pid, 9)
        relay._process.wait()
        assert not relay.alive()
        with pytest.raises(RelayError, match="ended while it started"):
            relay.wait()
        relay.restart()
        assert relay.alive()


@pytest.mark.skipif(not Path("/proc").exists(), reason="command lines are read from Linux's /proc")
def test_the_token_is_on_no_command_line_and_in_no_environment(tmp_path):
    with LocalRelay(tmp_path) as relay:
        for pid in relay.pids():
            for file in ("cmdline", "environ"):
                assert relay.token.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
        assert relay.token not in repr(relay)


def test_the_settings_are_given_as_urls_too(tmp_path):
    relay = LocalRelay(tmp_path, 5, "a+token")
    test = relay.database_ids[1]
    assert relay.settings(urls=True) == {
        "DATABASE_URL": f"d1://:a%2Btoken@127.0.0.1:5/{relay.database_ids[0]}?test_name={test}",
        "TENANT_DATABASE_URL": "do://:a%2Btoken@127.0.0.1:5/",
    }
    relay.close()
    assert database_urls("http://relay.example", "t", "d") == {
        "DATABASE_URL": "d1://:t@relay.example/d?tls=false",
        "TENANT_DATABASE_URL": "do://:t@relay.example/?tls=false",
    }
    placed = database_urls("https://relay.example", "t", "d", jurisdiction="eu")["TENANT_DATABASE_URL"]
    assert placed == "do://:t@relay.example/?jurisdiction=eu"
    assert (jurisdiction_of(placed), jurisdiction_of("do://:t@relay.example/"), jurisdiction_of("")) == (
        "eu",
        "",
        "",
    )


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("", False),
        ("d1://:t@127.0.0.1:1/d", False),
        ("d1://:t@relay.example/d", True),
        ("postgres://localhost/d", True),
    ],
)
def test_a_url_of_another_database_is_told_apart(url, other):
    assert is_other(url) == other
