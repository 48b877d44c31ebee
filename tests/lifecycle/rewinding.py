"""What the tests of restores share: posts of a tenant, and commands."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from blog.models import Post
from do_bridge.tenancy import tenant_alias


def write(slug, author, title):
    Post.objects.using(tenant_alias(slug)).create(title=title, content="-", user_id=author.pk)


def titles(slug):
    return list(Post.objects.using(tenant_alias(slug)).order_by("pk").values_list("title", flat=True))


def run(*arguments):
    out = StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def run_refused(match, *arguments):
    """Run a command that raises a CommandError; return what it printed before."""
    out = StringIO()
    with pytest.raises(CommandError, match=match):
        call_command(*map(str, arguments), stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def bookmark(slug):
    return run("tenant_bookmark", slug).strip()


def undo_in(text):
    return text.split("--bookmark ")[-1].split()[0]
