"""A local Worker with many tenants and people, and the site on gunicorn before it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from do_bridge.relay import LocalRelay
from do_bridge.relay.ports import HOST, free_port
from do_bridge.relay.processes import end_group, guarded
from tests.conftest import site_environment
from tests.leak.actor import SEEDS, Cast
from tests.leak.marks import mark
from tests.leak.pages import PASSWORD

ROOT = Path(__file__).resolve().parent.parent.parent


def set_up(worker: LocalRelay, settings: str) -> None:
    """Point this process, and those that it starts, at the Worker; start Django here."""
    import django

    # Without a replica that lags this changes nothing.
    os.environ.update(site_environment(worker), D1_REPLICAS="True", DJANGO_SETTINGS_MODULE=settings)
    django.setup()


def make_tenants(count: int) -> Cast:
    """Migrate D1 and make the tenants t000, t001 … with their people and SEEDS posts each."""
    from django.contrib.auth.hashers import make_password
    from django.core.management import call_command

    from accounts.models import User

    call_command("migrate", database="default", verbosity=0)
    slugs = [f"t{number:03}" for number in range(count)]
    password = make_password(PASSWORD)
    people = [User(username=f"own-{slug}", name=mark(slug), password=password) for slug in slugs]
    people.append(User(username="several", name="Somebody", password=password))
    people.append(User(username="root", name="Root", password=password, is_staff=True, is_superuser=True))
    User.objects.bulk_create(people)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "tenants.csv"
        listed.write_text("".join(f"{slug},{slug},several own-{slug}\n" for slug in slugs))
        call_command("create_tenants", str(listed), verbosity=0, stdout=io.StringIO())
    keys = dict(User.objects.values_list("username", "pk"))
    cast = Cast(slugs, keys["several"], {slug: keys[f"own-{slug}"] for slug in slugs})
    for slug in slugs:
        _seed(cast, slug)
    return cast


def _seed(cast: Cast, slug: str) -> None:
    from blog.models import Post
    from do_bridge.tenancy import tenant_context

    with tenant_context(slug):
        Post.objects.bulk_create(
            Post(
                pk=key,
                title=f"{mark(slug)} {key}",
                content=mark(slug),
                user_id=cast.several if key % 2 else cast.own[slug],
            )
            for key in range(1, SEEDS + 1)
        )


@contextlib.contextmanager
def site(
    log: Path, relay_url: str, workers: int = 4, options: Sequence[str] = ()
) -> Iterator[tuple[str, subprocess.Popen[Any]]]:
    """Serve the site by gunicorn, its databases at `relay_url`; gives the address and the process."""
    port = free_port()
    environment = os.environ | {"RELAY_URL": relay_url, "WEB_CONCURRENCY": str(workers), "PORT": str(port)}
    command = [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", *options]
    command.append("project.wsgi:application")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            guarded(command), cwd=ROOT, env=environment, start_new_session=True, stdout=output, stderr=output
        )
    try:
        address = f"http://{HOST}:{port}"
        _wait(address + "/accounts/login/", process, log)
        yield address, process
    finally:
        end_group(process.pid, grace=10)
        process.wait()


def _wait(url: str, process: subprocess.Popen[Any], log: Path, seconds: float = 60) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), opener.open(url, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"The site did not answer.\n{log.read_text(errors='replace')[-3000:]}")
