"""The wheel and the source archive are built, installed and used from nothing, if that may have changed."""

import subprocess
import sys

import pytest

from tests.infra import proven

CASES = "tests/infra/inner/package_cases.py"


@pytest.mark.timeout(1800)
@pytest.mark.skipif(proven.is_proven(), reason="the package is proven; PACKAGE_TESTS=1 tries it again")
def test_the_built_package_works_in_empty_environments():
    # In one process, whatever `-n` says: the cases share environments that take minutes to make.
    options = [
        "--noconftest",
        "-p",
        "no:django",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-q",
        "--tb",
        "short",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, CASES], cwd=proven.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    proven.STAMP.write_text(proven.digest() + "\n")


def test_a_change_of_a_deciding_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.delenv("PACKAGE_TESTS", raising=False)
    for name in proven.DECIDING:
        assert list(proven.ROOT.glob(name)), name
    (tmp_path / "setup.py").write_text("")
    monkeypatch.setattr(proven, "ROOT", tmp_path)
    monkeypatch.setattr(proven, "STAMP", tmp_path / "stamp.txt")
    assert not proven.is_proven()
    proven.STAMP.write_text(proven.digest() + "\n")
    assert proven.is_proven()
    monkeypatch.setenv("PACKAGE_TESTS", "1")
    assert not proven.is_proven()
    monkeypatch.delenv("PACKAGE_TESTS")
    (tmp_path / "setup.py").write_text("changed")
    assert not proven.is_proven()
