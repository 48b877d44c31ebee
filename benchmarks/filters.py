"""CPU of making and compiling queries in a tenant, which sends nothing; beside another checkout's.

`python -m benchmarks.filters --against PATH` runs both in turn and prints the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 7
REPEAT = 1500
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "SECRET_KEY": "a-long-random-text-for-measurements-alone-0123456789",
    "RELAY_URL": "http://127.0.0.1:9",
    "RELAY_TOKEN": "a-long-random-text-for-measurements-alone-9876543210",
    "CLOUDFLARE_DATABASE_ID": "d0b41d9e-0000-4000-8000-000000000001",
}


def cases() -> dict[str, Any]:
    """Return {name: a function that makes or compiles one query}, inside a tenant."""
    import django

    django.setup()
    from django.db import connections

    from accounts.models import User
    from blog.models import Post

    user = User(pk=1)
    user._state.db, user._state.adding = "tenant/acme", False
    compile_queries = {alias: connections[alias] for alias in ("tenant/acme", "default")}

    def compiled(queryset: Any, alias: str = "tenant/acme") -> None:
        queryset.query.get_compiler(using=alias, connection=compile_queries[alias]).as_sql()

    def filtered() -> Any:
        return Post.objects.filter(user=user, title__contains="x").exclude(content="").order_by("-pk")

    return {
        "a manager's queryset": lambda: Post.objects.all(),
        "a filter made": filtered,
        "a filter made and compiled": lambda: compiled(filtered()),
        "a subquery made and compiled": lambda: compiled(
            Post.objects.filter(pk__in=Post.objects.filter(user=user).values("pk"))
        ),
        "a user's posts made and compiled": lambda: compiled(user.posts.filter(title="x")),
        "D1's users made and compiled": lambda: compiled(User.objects.filter(username="x"), "default"),
    }


def measure() -> dict[str, float]:
    """Return {case: microseconds of CPU for one call}."""
    found = {}
    work = cases()
    from do_bridge.tenancy import tenant_context

    with tenant_context("acme"):
        for name, call in work.items():
            for _ in range(100):
                call()
            start = time.process_time()
            for _ in range(REPEAT):
                call()
            found[name] = (time.process_time() - start) / REPEAT * 1e6
    return found


def child(tree: Path) -> dict[str, float]:
    """Measure a checkout in a process of its own."""
    done = subprocess.run(  # noqa: S603 - this file itself
        [sys.executable, __file__, "--child"],
        cwd=tree,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="the root of another checkout")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure()))  # noqa: T201
        return
    trees = [ROOT, *filter(None, [options.against])]
    rounds = [[child(tree) for tree in trees] for _ in range(ROUNDS)]
    for name in rounds[0][0]:
        figures = [statistics.median(each[at][name] for each in rounds) for at in range(len(trees))]
        ratio = f", {figures[0] / figures[1]:.2f} of the other's" if len(figures) > 1 else ""
        print(f"{name}: {figures[0]:.0f} us{ratio}")  # noqa: T201


if __name__ == "__main__":
    main()
