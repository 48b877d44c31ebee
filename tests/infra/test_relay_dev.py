"""`relay dev` from an installed wheel in an empty folder: it needs no clone, and later no network."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from do_bridge import driver
from do_bridge.relay import envfile, ports, processes, tools
from tests.infra.built import build_wheel, copy_checkout, install

SETTINGS = """
import os
from pathlib import Path
INSTALLED_APPS = ["do_bridge", *INSTALLED_APPS]
for line in (BASE_DIR / ".env").read_text().splitlines() if (BASE_DIR / ".env").exists() else ():
    os.environ.setdefault(*line.split("=", 1))
DATABASES = {
    "default": {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": os.environ.get("CLOUDFLARE_DATABASE_ID", "unset"),
        "HOST": os.environ.get("RELAY_URL", "unset"),
        "PASSWORD": os.environ.get("RELAY_TOKEN", "unset"),
        "OPTIONS": {"transport": "relay"},
    }
}
"""


class Project:
    """A project of `startproject` in an empty folder, with the installed package alone."""

    def __init__(self, folder, site, cache):
        self.folder = folder
        self.started = []
        # The rest may be needed to reach the registry: a proxy, certificates.
        own = ("RELAY_", "CLOUDFLARE_", "D1_", "DJANGO_", "SECRET_KEY", "PYTEST_", "PYTHON")
        around = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        self.environment = around | {
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            tools.CACHE_VARIABLE: str(cache),
        }
        self.run("-m", "django", "startproject", "shop", ".")
        settings = folder / "shop" / "settings.py"
        settings.write_text(settings.read_text() + SETTINGS)

    def run(self, *words, **environment):
        """Run Python to its end; return the process."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )

    def dev(self, *words, **environment):
        """Start `relay dev`; return the process once it says that it listens, and what it said."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "relay", "dev", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        timer = threading.Timer(120, process.kill)
        timer.start()
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C ends" in line:
                break
        timer.cancel()
        return process, said

    def relays(self):
        """The processes that work in the data folder."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                where = (place / "cwd").readlink()
            except OSError:
                continue
            if where == self.folder / ".relay":
                found.append(int(place.name))
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The installed wheel, and a cache of its own for the tools."""
    folder = tmp_path_factory.mktemp("package")
    wheel = build_wheel(copy_checkout(folder / "checkout"), folder)
    return install(wheel, folder / "site"), folder / "cache"


@pytest.fixture
def project(tmp_path, site):
    folder = tmp_path / "empty"
    folder.mkdir()
    made = Project(folder, *site)
    yield made
    for process in made.started:
        process.kill()  # the guard of the relay ends the rest
        process.communicate()


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process):
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=40)[0]


@pytest.mark.timeout(300)
def test_an_empty_folder_has_a_relay_its_settings_and_later_no_need_of_a_network(project):
    process, said = project.dev("--write", ".env", "--port", str(ports.free_port()))
    assert "Installing wrangler" in said or (project.folder / ".env").exists(), said
    assert f"Its data are in {project.folder / '.relay'}." in said
    settings = envfile.read(project.folder / ".env")
    assert settings["RELAY_URL"] in said
    assert settings["RELAY_TOKEN"] not in said
    assert stat.S_IMODE((project.folder / ".env").stat().st_mode) == 0o600
    assert (project.folder / ".relay" / ".gitignore").read_text() == "*\n"
    migrated = project.run("manage.py", "migrate")
    assert "Applying auth.0001_initial... OK" in migrated.stdout, migrated.stderr
    assert project.run("manage.py", "relay", "status").returncode == 0
    assert "Its data are kept." in end(process)
    assert process.returncode == 0
    assert project.relays() == []

    # Without a network, on another port, with the same data and token.
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    process, said = project.dev("--port", str(ports.free_port()), **nowhere)
    url = re.search(r"listens on (\S+)\.", said)[1]
    assert f".env now has the address {url}." in said
    again = envfile.read(project.folder / ".env")
    assert again == settings | {"RELAY_URL": url}
    transport = driver.relay(url, again["RELAY_TOKEN"])
    with driver.connect(transport, f"d1:{again['CLOUDFLARE_DATABASE_ID']}") as connection:
        assert connection.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)
    transport.close()
    end(process)


@pytest.mark.timeout(300)
def test_a_command_runs_beside_the_relay_with_its_settings_and_ends_it(project):
    done = project.run("manage.py", "relay", "dev", "migrate", "--verbosity", "1")
    assert done.returncode == 0, done.stderr
    assert "Applying auth.0001_initial... OK" in done.stdout
    failed = project.run("manage.py", "relay", "dev", "migrate", "nowhere")
    assert failed.returncode == 1
    assert project.relays() == []


@pytest.mark.timeout(300)
def test_runserver_beside_the_relay_ends_with_it(project):
    port = ports.free_port()
    process, said = project.dev("runserver", "--noreload", str(port))
    while not answers(port):
        assert process.poll() is None, said
        time.sleep(0.1)
    end(process)
    assert process.returncode == 0
    assert project.relays() == []
    assert not answers(port)


@pytest.mark.timeout(300)
def test_a_killed_relay_ends_the_command_with_a_message_and_a_second_one_is_refused(project):
    process, said = project.dev()
    url = re.search(r"listens on (\S+)\.", said)[1]
    second = project.run("manage.py", "relay", "dev")
    assert second.returncode == 1
    assert "CommandError: Another local relay uses" in second.stderr
    assert "Traceback" not in second.stderr
    taken = project.run("manage.py", "relay", "dev", "--folder", "other", "--port", url.rpartition(":")[2])
    assert "cannot be used (Address already in use)" in taken.stderr
    assert "another with --port" in taken.stderr
    for pid in project.relays():
        if processes.group_members(pid) and pid == os.getpgid(pid):
            os.killpg(pid, signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert "The local relay has ended. Run `manage.py relay dev` again." in said
    assert process.returncode == 1


def test_an_env_file_of_a_deployed_relay_is_not_overwritten(project):
    (project.folder / ".env").write_text("RELAY_URL=https://relay.example\n")
    done = project.run("manage.py", "relay", "dev", "--write", ".env")
    assert done.returncode == 1
    assert "names a deployed relay, so it was not changed. Give another file with --write" in done.stderr
    assert (project.folder / ".env").read_text() == "RELAY_URL=https://relay.example\n"


def test_a_url_of_another_database_is_not_overwritten(project):
    text = "DATABASE_URL=postgres://me@db.example/shop\n"
    (project.folder / ".env").write_text(text)
    done = project.run("manage.py", "relay", "dev", "--write", ".env", "--urls")
    assert "DATABASE_URL in .env names another database, so it was not changed." in done.stderr
    assert (project.folder / ".env").read_text() == text


def test_a_folder_without_a_project_is_named_before_anything_starts(project):
    (project.folder / "manage.py").unlink()
    done = project.run("-m", "do_bridge.relay", "dev", "runserver")
    assert done.returncode == 1
    assert "has no manage.py" in done.stderr
    assert not (project.folder / ".relay").exists()
