"""A project in which another library wraps Django's methods before do_bridge loads, as tracing libraries do.

Its orders are JSON on standard input: pairs of (module or class, name). It prints the refusals that failed.
"""

import functools
import json
import sys
from pathlib import Path
from pkgutil import resolve_name

ROOT = Path(__file__).parent.parent.parent
CALLS = []


def wrap(owner, name):
    """Replace `owner.name` as a library would, with functools.wraps()."""
    present = vars(owner).get(name) or getattr(owner, name)
    function = present.fget if isinstance(present, property) else present

    @functools.wraps(function)
    def traced(*args, **kwargs):
        CALLS.append(name)
        return function(*args, **kwargs)

    setattr(owner, name, property(traced) if isinstance(present, property) else traced)


def refusals():
    """Return {name: a call that must raise TenantMismatch before anything is sent}."""
    from django.contrib.auth.models import Group
    from django.db import connections
    from django.db.models import Exists, Q, prefetch_related_objects

    from accounts.models import User
    from blog.models import Post
    from do_bridge.tenancy import tenant_context

    def row(model, slug):
        made = model(pk=1)
        made._state.db, made._state.adding = f"tenant/{slug}", False
        return made

    post, user, group = row(Post, "acme"), row(User, "acme"), row(Group, "acme")
    own = row(User, "zeta")
    with tenant_context("acme"):
        theirs = Post.objects.order_by()
    compiled = Post.objects.filter(Exists(theirs)).query.get_compiler
    return {
        "bulk_create": lambda: Post.objects.bulk_create([post]),
        "bulk_update": lambda: Post.objects.bulk_update([post], ["title"]),
        "update": lambda: Post.objects.update(user=user),
        "db": theirs.delete,
        "filter": lambda: Post.objects.filter(user=user),
        "complex_filter": lambda: Post.objects.complex_filter(Q(user=user)),
        "or": lambda: Post.objects.order_by() | theirs,
        "union": lambda: Post.objects.order_by().union(theirs),
        "subquery": lambda: compiled(using="tenant/zeta", connection=connections["tenant/zeta"]).as_sql(),
        "contains": lambda: Post.objects.contains(post),
        "remove": lambda: own.groups.remove(group),
        "set": lambda: own.posts.set([post]),
        "prefetch": lambda: prefetch_related_objects([user, own], "posts"),
    }


def main(names):
    sys.path.insert(0, str(ROOT))
    for path, name in names:
        wrap(resolve_name(path), name)
    import django

    django.setup()
    from do_bridge import patches
    from do_bridge.tenancy import TenantMismatch, tenant_context

    passed = []
    with tenant_context("zeta"):
        for name, call in refusals().items():
            try:
                call()
            except TenantMismatch:
                continue
            except Exception as error:
                passed.append(f"{name}: {type(error).__name__}: {error}")
            else:
                passed.append(name)
    print(json.dumps({"passed": passed, "missing": patches.missing(), "called": sorted(set(CALLS))}))  # noqa: T201


if __name__ == "__main__":
    main(json.load(sys.stdin))
