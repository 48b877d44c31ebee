"""An empty folder to deploy from, and an account to deploy to."""

import os

import pytest

from do_bridge.relay import deploying
from tests.infra.fake_cloudflare import FakeCloudflare


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder as the current one, and an environment that names no relay."""
    place = tmp_path / "shop"
    place.mkdir()
    monkeypatch.chdir(place)
    for name in list(os.environ):
        if name.startswith(("RELAY_", "CLOUDFLARE_", "D1_")):
            monkeypatch.delenv(name)
    return place


@pytest.fixture
def env_file(folder):
    """Writes the env file of a deployment; returns its path."""

    def write(name=".env", **values):
        path = folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    return write


@pytest.fixture
def cloudflare(tmp_path, monkeypatch):
    """A fake account that wrangler talks to; no wait for busy objects."""
    monkeypatch.setattr(deploying.time, "sleep", lambda seconds: None)
    with FakeCloudflare(tmp_path / "data") as fake:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", fake.api_base)
        yield fake
