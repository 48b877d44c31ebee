"""Releases of the demo site: copies of it that differ in migrations, models and apps, and their processes."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from do_bridge.relay.ports import free_port
from tests.forking import Program

ROOT = Path(__file__).resolve().parents[2]
# What a release is made of; the package itself is the same in all of them.
PARTS = ("accounts", "blog", "project", "manage.py", "gunicorn.conf.py")
NEWER = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("blog", "0001_initial")]
    operations = [
        migrations.AddField("post", "rating", models.IntegerField(null=True)),
        migrations.CreateModel("Extra", [("id", models.BigAutoField(primary_key=True))]),
    ]
"""
SHOP = """
from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=20)
"""
SHOP_MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Item", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=20))]
        ),
    ]
"""


@dataclass
class Release:
    """One state of the site's code in a folder of its own; `environment` names its databases."""

    folder: Path
    environment: dict

    def __post_init__(self):
        self.folder.mkdir()
        for name in PARTS:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.folder / name)
        (self.folder / "do_bridge").symlink_to(ROOT / "do_bridge")

    def add_migration(self):
        """Give the blog a column and a table, in its models and by a migration."""
        (self.folder / "blog/migrations/0002_newer.py").write_text(NEWER)
        models = self.folder / "blog/models.py"
        column = "    title = models.CharField(max_length=200)\n"
        text = models.read_text().replace(column, column + "    rating = models.IntegerField(null=True)\n")
        models.write_text(text + "\n\nclass Extra(models.Model):\n    pass\n")
        return self

    def add_app(self):
        """Install an app `shop` with a model and a migration."""
        (self.folder / "shop/migrations").mkdir(parents=True)
        for name in ("__init__.py", "migrations/__init__.py"):
            (self.folder / "shop" / name).touch()
        (self.folder / "shop/models.py").write_text(SHOP)
        (self.folder / "shop/migrations/0001_initial.py").write_text(SHOP_MIGRATION)
        with (self.folder / "project/settings.py").open("a") as settings:
            settings.write('\nINSTALLED_APPS = [*INSTALLED_APPS, "shop"]\n')
            settings.write('DO_BRIDGE["TENANT_MODELS"] = (*DO_BRIDGE["TENANT_MODELS"], "shop")\n')
            settings.write('DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"\n')
        return self

    def manage(self, *arguments):
        """Run a command of this release to its end; return (exit code, what it wrote)."""
        process = self.command(*arguments)
        return process.wait(), process.stdout + process.stderr

    def command(self, *arguments):
        """Start a command of this release."""
        return Program(["manage.py", *arguments], cwd=self.folder, env=self._environment())

    def serve(self):
        """Start gunicorn with this release; return the process and its address."""
        port = free_port()
        options = ("--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4")
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options],
                cwd=self.folder,
                env=self._environment(),
                text=True,
                stdout=log,
                stderr=log,
            )
        return process, f"http://127.0.0.1:{port}"

    def log(self):
        """Return what the processes that serve have written."""
        return (self.folder / "log").read_text()

    def _environment(self):
        return {**os.environ, **self.environment, "PYTHONPATH": ""}
