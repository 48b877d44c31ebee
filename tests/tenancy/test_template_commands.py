"""Commands of Django for the tenants' template, and dumps of tenants' models: one line that names the way."""

import io
import json
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from blog.models import Post
from do_bridge.backends.durable_object.base import TemplateUsed
from do_bridge.tenancy import tenant_alias, tenant_context
from tests import forking

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["showmigrations"],
        ["sqlmigrate", "blog", "0001"],
        ["dbshell"],
        ["inspectdb"],
        ["flush", "--no-input"],
        ["sqlflush"],
        ["loaddata", "{fixture}"],
        ["changepassword", "somebody"],
    ],
    ids=" ".join,
)
def test_a_command_for_the_template_is_refused_in_one_line(local_worker, arguments, tmp_path):
    fixture = tmp_path / "posts.json"
    fixture.write_text(
        json.dumps([{"model": "blog.post", "pk": 1, "fields": {"title": "t", "content": "-"}}])
    )
    words = [argument.format(fixture=fixture) for argument in arguments]
    # In a test run the template is a database of tests, so this is a process of its own.
    done = forking.run(["manage.py", *words, "--database", "tenant"])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "'tenant'" in done.stderr
    assert "template" in done.stderr
    assert "tenant/<slug>" in done.stderr
    assert "manage.py all_tenants_command" in done.stderr


def test_code_that_connects_to_the_template_gets_the_error_of_the_settings():
    assert issubclass(TemplateUsed, ImproperlyConfigured)


@pytest.fixture
def post(acme, in_both):
    """A post of a tenant."""
    with tenant_context(acme):
        return Post.objects.create(title="Mine", content="-", user_id=in_both)


def dumped(*arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("dumpdata", *arguments, stdout=out, stderr=err, **options)
    return json.loads(out.getvalue()), err.getvalue()


@pytest.mark.parametrize("arguments", [["blog"], ["blog.Post"], ["accounts", "blog"], []])
def test_a_dump_of_tenants_models_warns_that_the_rows_are_the_tenants(post, arguments):
    rows, told = dumped(*arguments)
    assert not [row for row in rows if row["model"] == "blog.post"]
    labels = "".join(f" {label}" for label in arguments)
    assert "does not contain the rows of blog.Post" in told
    assert f"`manage.py tenant_command SLUG dumpdata{labels}`" in told


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["accounts"], {}),
        (["blog"], {"exclude": ["blog.Post"]}),
        ([], {"exclude": ["blog"]}),
    ],
)
def test_a_dump_without_tenants_models_warns_of_nothing(db, arguments, options):
    assert dumped(*arguments, **options)[1] == ""


def test_a_dump_of_a_tenant_has_its_rows_and_no_warning(post, acme):
    rows, told = dumped("blog", database=tenant_alias(acme.slug))
    assert [row["fields"]["title"] for row in rows] == ["Mine"]
    assert told == ""
    out, err = io.StringIO(), io.StringIO()
    call_command("tenant_command", acme.slug, "dumpdata", "blog", stdout=out, stderr=err)
    assert (json.loads(out.getvalue()), err.getvalue()) == (rows, "")


def test_a_dump_of_the_template_is_an_error_that_names_the_way(post):
    with pytest.raises(CommandError, match="all_tenants_command dumpdata blog"):
        call_command("dumpdata", "blog", database="tenant")
