"""The SQL editor's bundle is what its source and its lock make of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EDITOR = ROOT / "do_bridge" / "inspection" / "editor"
BUNDLE = ROOT / "do_bridge" / "inspection" / "static" / "do_bridge" / "inspection" / "editor.js"


@pytest.mark.skipif(
    not (EDITOR / "node_modules" / "@codemirror" / "view").exists(),
    reason="the editor's packages are not installed; `make test` installs them",
)
def test_building_the_editor_again_gives_the_same_bytes(tmp_path):
    again = tmp_path / "editor.js"
    done = subprocess.run(
        [shutil.which("node"), "build.mjs", "--out", str(again)], cwd=EDITOR, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == BUNDLE.read_bytes(), "Run `make editor` and commit the result."


def test_the_bundle_names_its_parts_and_evaluates_no_text():
    text = BUNDLE.read_text()
    lock = json.loads((EDITOR / "package-lock.json").read_text())["packages"]
    for path, package in lock.items():
        if path and package["license"] == "MIT":
            assert f"{path.removeprefix('node_modules/')} {package['version']}" in text[:2_000]
    assert "MIT" in text[:200]
    assert not re.search(r"\beval\(|new Function\b", text)


def test_the_lock_names_exact_versions_and_no_registry():
    package = json.loads((EDITOR / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["devDependencies"].values())
    lock = json.loads((EDITOR / "package-lock.json").read_text())["packages"]
    for name, version in package["devDependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version
    assert not [path for path, found in lock.items() if "resolved" in found]
    assert all("integrity" in found for path, found in lock.items() if path)
