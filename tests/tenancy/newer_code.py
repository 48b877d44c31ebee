"""Gives the blog a further migration for the time of a test, as newer code would."""

import importlib
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.db import connections
from django.test import override_settings

from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import provision
from do_bridge.tenancy.migrate import catch_up
from do_bridge.tenancy.schema import fingerprint, known

NAME = "0099_newer"
RATING = 'migrations.AddField("post", "rating", models.IntegerField(null=True))'
INDEX = 'migrations.AddIndex("post", models.Index(fields=["rating"], name="blog_post_rating"))'
# Calls `heard` with the alias that is migrated, forwards and backwards.
PYTHON = "migrations.RunPython(newer_code.tell, newer_code.tell)"

heard = []


def tell(apps, editor):
    """The Python code of a migration: tells each listener which alias is migrated."""
    for listener in heard:
        listener(editor.connection.alias)


def forget():
    """Let everybody read the migrations again."""
    importlib.invalidate_caches()
    fingerprint.forget_code()
    known.forget()
    provision._known.clear()
    catch_up._failures.clear()


def close_tenants():
    """Close this thread's connections to tenants: what they expect was told when they were opened."""
    for alias in tenant_databases().live_aliases():
        connections[alias].close()


@contextmanager
def newer_code(folder, *operations, keep_open=False, name=NAME, atomic=True, squashes=False):
    """Add a migration with these operations, texts of Python, while the block runs; may be nested.

    With `keep_open` this thread's connections to tenants stay those of the older code. With `squashes` the
    migration replaces all those before it.
    """
    package = f"newer_blog_{uuid4().hex}"
    before = settings.MIGRATION_MODULES.get("blog", "blog.migrations")
    here = Path(importlib.import_module(before).__file__).parent
    shutil.copytree(here, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    names = sorted(path.stem for path in here.glob("0*.py"))
    replaces = [("blog", one) for one in names] if squashes else []
    dependencies = [] if squashes else [("blog", names[-1])]
    (folder / package / f"{name}.py").write_text(f"""
import sys
from django.db import migrations, models
newer_code = sys.modules[{__name__!r}]

class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = {dependencies}
    replaces = {replaces}
    operations = [{", ".join(operations)}]
""")
    sys.path.insert(0, str(folder))
    try:
        with override_settings(MIGRATION_MODULES={"blog": package}):
            forget()
            if not keep_open:
                close_tenants()
            yield
    finally:
        sys.path.remove(str(folder))
        forget()
        if not keep_open:
            close_tenants()
        heard.clear()
