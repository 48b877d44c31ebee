"""Measures how long commands take to start, beside a plain Django project: `python -m benchmarks.startup`."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Figure, machine, medians, table, write_result
from do_bridge.relay import LocalRelay, bundle

ROOT = Path(__file__).resolve().parents[1]
DATABASE_ID = "d0b41d9e-0000-4000-8000-000000000000"
COMMANDS = (("help",), ("check",), ("migrate", "--plan"))
TARGET = 1.15

#: A project as `startproject` makes it, with one app of its own.
SETTINGS = """
SECRET_KEY = "for-measurements-alone"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    {apps}
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages", "django.contrib.staticfiles", "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    {first}
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "{auth}.middleware.AuthenticationMiddleware",
    {last}
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "urls"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {{"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]}},
}}]
"""
PLAIN = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "plain.sqlite3"}}\n'
BRIDGED = """
from do_bridge import TenantDatabases
RELAY = {{"HOST": {url!r}, "PASSWORD": {token!r}}}
DATABASES = TenantDatabases({{
    "default": {{"ENGINE": "do_bridge.backends.d1", "NAME": "{database}", **RELAY}},
    "tenant": {{"ENGINE": "do_bridge.backends.durable_object", "NAME": "", **RELAY}},
}})
DATABASE_ROUTERS = ["do_bridge.tenancy.routers.TenantRouter", "do_bridge.tenancy.routers.DirectoryRouter"]
CACHES = {{"default": {{
    "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
    "KEY_FUNCTION": "do_bridge.contrib.cache.tenant_key",
}}}}
DO_BRIDGE = {{"TENANT_MODELS": ["shop.Order"], "TENANT_MODEL": "shop.Shop"}}
MESSAGE_STORAGE = "do_bridge.contrib.messages.TenantCookieStorage"
SESSION_ENGINE = "do_bridge.contrib.sessions.backend"
"""
URLS = """
from django.contrib import admin
from django.urls import path
urlpatterns = [path("admin/", admin.site.urls)]
"""
MODELS = """
from django.db import models

class Shop(models.Model):
    slug = models.SlugField(unique=True)

class Order(models.Model):
    text = models.CharField(max_length=100)
"""


def write_project(folder: Path, extra: str, **parts: str) -> None:
    """Write a project into `folder`."""
    (folder / "shop" / "migrations").mkdir(parents=True)
    for name in ("shop/__init__.py", "shop/migrations/__init__.py"):
        (folder / name).touch()
    values = {"apps": "", "first": "", "last": "", "auth": "django.contrib.auth"} | parts
    (folder / "settings.py").write_text(SETTINGS.format(**values) + extra)
    (folder / "urls.py").write_text(URLS)
    (folder / "shop" / "models.py").write_text(MODELS)


def run(folder: Path, *command: str) -> None:
    """Run a command of a project in a process of its own; raises RuntimeError if it fails."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{folder}:{ROOT}"}
    # As after an installation, modules are compiled; the first round does it.
    environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder.parent / "compiled")}
    program = [sys.executable, "-m", "django", *command]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")


def children_cpu() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(plain: Path, bridged: Path, rounds: int) -> list[Figure]:
    """Run each command in both projects, in turn."""
    figures = []
    for command in COMMANDS:
        cases = {
            "plain": lambda command=command: run(plain, *command),
            "bridged": lambda command=command: run(bridged, *command),
        }
        times = medians(cases, rounds, clock=children_cpu)
        name = f"CPU of `manage.py {' '.join(command)}`"
        figures.append(Figure(name, "a plain project on sqlite3", times["bridged"], times["plain"], TARGET))
    return figures


def main() -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, and no file is written")
    rounds = 3 if (quick := parser.parse_args().quick) else 15
    with (
        tempfile.TemporaryDirectory() as name,
        LocalRelay(Path(name) / "state", source=bundle.SOURCE) as worker,
    ):
        plain, bridged = Path(name) / "plain", Path(name) / "bridged"
        write_project(plain, PLAIN)
        write_project(
            bridged,
            BRIDGED.format(url=worker.url, token=worker.token, database=DATABASE_ID),
            apps='"do_bridge", "do_bridge.contrib.sessions",',
            first='"do_bridge.tenancy.middleware.TenantMiddleware",',
            auth="do_bridge.contrib.sessions",
        )
        for folder in (plain, bridged):
            run(folder, "makemigrations", "shop")
        text = "\n".join([table(measured(plain, bridged, rounds)), "", machine()])
    sys.stdout.write(text + "\n")
    if not quick:
        write_result("startup.md", text)


if __name__ == "__main__":
    main()
