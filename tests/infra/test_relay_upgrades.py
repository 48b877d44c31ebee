"""Relays and packages of different versions: what works side by side, and what says which side to upgrade.

`relays/` has the bundles of former relays; a release adds its own.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from do_bridge import driver
from do_bridge.relay import LocalRelay, bundle, health, tools
from do_bridge.relay.comparing import compare
from do_bridge.version import __version__

FORMER = sorted(Path(__file__).with_name("relays").glob("*.js"))


class OtherRelay(LocalRelay):
    """A local relay that runs another script than the package's."""

    def __init__(self, folder, script):
        super().__init__(folder)
        self.script = script

    def _write_configuration(self):
        path = super()._write_configuration()
        path.write_text(json.dumps(json.loads(path.read_text()) | {"main": str(self.script)}))
        return path


@pytest.fixture
def changed(tmp_path):
    """Starts a relay whose version.ts was changed; returns it."""
    started = []

    def start(old, new):
        source = tmp_path / "src"
        shutil.copytree(bundle.SOURCE / "src", source)
        code = source / "version.ts"
        assert old in code.read_text()
        code.write_text(code.read_text().replace(old, new))
        script = tmp_path / "relay.js"
        build = [tools.node_binary(), bundle._BUILDER, tools.tools_folder(), source / "index.ts", script]
        subprocess.run(list(map(str, build)), check=True)
        started.append(OtherRelay(tmp_path / "data", script).start())
        return started[-1]

    yield start
    for relay in started:
        relay.close()


def use(relay):
    """Do what a site does, on D1 and on an object: writes, a batch, an error, a rollback; return the rows."""
    transport = driver.relay(relay.url, relay.token)
    answers = []
    for database in (f"d1:{relay.database_ids[0]}", "do:tenant/acme"):
        connection = driver.connect(transport, database)
        connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v UNIQUE)")
        connection.execute("DELETE FROM t")
        connection.execute("INSERT INTO t (v) VALUES (%s)", ["one"])
        connection.execute_batch(
            [("INSERT INTO t (v) VALUES (%s)", ["two"]), ("SELECT count(*) FROM t", None)]
        )
        with pytest.raises(driver.IntegrityError, match="UNIQUE"):
            connection.execute("INSERT INTO t (v) VALUES ('one')")
        if connection.supports_transactions:
            connection.begin()
            connection.execute("INSERT INTO t (v) VALUES ('three')")
            connection.rollback()
        answers.append(connection.execute("SELECT v FROM t ORDER BY id").fetchall())
    transport.close()
    return answers


@pytest.mark.parametrize("former", FORMER, ids=lambda path: path.stem)
def test_a_former_relay_and_the_new_one_serve_the_installed_package_over_the_same_data(tmp_path, former):
    answers = []
    # The upgrade and, because it may have to be taken back, the way back.
    for relay in (OtherRelay(tmp_path, former), LocalRelay(tmp_path), OtherRelay(tmp_path, former)):
        with relay:
            answers.append(use(relay))
    assert answers[0] == answers[1] == answers[2] == [[("one",), ("two",)]] * 2


@pytest.mark.parametrize("former", FORMER, ids=lambda path: path.stem)
def test_status_names_a_former_relay_and_the_command_that_upgrades_it(tmp_path, former, capsys):
    with OtherRelay(tmp_path, former) as relay:
        with pytest.raises(
            CommandError, match="relay is older than the package. Run `manage.py relay deploy`"
        ):
            call_command("relay", "status", "--url", relay.url)
        assert "relay    unknown" in capsys.readouterr().out


def test_status_of_a_relay_of_the_same_version_has_nothing_to_do(local_worker, capsys):
    call_command("relay", "status")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["package", __version__, "1"]
    assert lines[2].split()[:3] == ["relay", __version__, "1"]
    assert local_worker.url in lines[2]
    call_command("relay", "status", "--json")
    assert json.loads(capsys.readouterr().out)["advice"] == ""


def test_status_names_an_alias_that_the_relay_would_refuse_on_a_stand_in(own_worker, monkeypatch, capsys):
    worker = own_worker(variables={"JURISDICTION": "eu"}).start()
    monkeypatch.setitem(connections.settings["tenant"], "HOST", worker.url)
    with pytest.raises(CommandError, match="'eu' alone, .* 'tenant' are in no jurisdiction.* set that to eu"):
        call_command("relay", "status", "--url", worker.url)
    assert "serves the jurisdiction eu alone" in capsys.readouterr().out
    options = connections.settings["tenant"]["OPTIONS"]
    monkeypatch.setitem(options, "jurisdiction", "us")
    with pytest.raises(CommandError, match="'tenant' are in the jurisdiction 'us'"):
        call_command("relay", "status", "--url", worker.url, "--json")
    assert "'eu' alone" in json.loads(capsys.readouterr().out)["advice"]
    monkeypatch.setitem(options, "jurisdiction", "eu")
    call_command("relay", "status", "--url", worker.url)


def test_status_of_a_newer_relay_names_the_command_that_upgrades_the_package(changed):
    relay = changed(__version__, "99.1.0")
    with pytest.raises(CommandError, match="package is older than the relay. Run `pip install --upgrade"):
        call_command("relay", "status", "--url", relay.url)


def test_status_of_an_address_without_a_relay_names_the_setting():
    with pytest.raises(CommandError, match="did not answer as a relay. Check RELAY_URL"):
        call_command("relay", "status", "--url", "http://127.0.0.1:9")


def test_status_of_a_relay_without_its_token_names_the_command_that_gives_it_one(tmp_path):
    relay = LocalRelay(tmp_path, token="short")
    try:
        relay.spawn()
        for _ in range(100):
            if (found := compare(relay.url)).relay.problem == "HTTP 503":
                break
            time.sleep(0.1)
        assert "has no RELAY_TOKEN. Run `manage.py relay deploy`" in found.advice
    finally:
        relay.close()


def test_a_relay_of_another_protocol_is_refused_with_the_commands_that_help(changed):
    relay = changed("PROTOCOL = 1", "PROTOCOL = 2")
    transport = driver.relay(relay.url, relay.token)
    with pytest.raises(driver.InterfaceError, match="`manage.py relay status`.*`manage.py relay deploy`"):
        driver.connect(transport, "do:test/a").execute("SELECT 1")
    found = compare(relay.url)
    assert found.relay.protocol == 2
    assert "speaks version 2 of the protocol" in found.advice
    assert health.PROTOCOL == 1
