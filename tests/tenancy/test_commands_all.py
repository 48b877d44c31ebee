"""tenant_command and all_tenants_command: Django's own commands, in one tenant or in all of them."""

import json
import os
import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections
from django.db.migrations.recorder import MigrationRecorder

from blog.models import Post
from do_bridge.management.commands import all_tenants_command
from do_bridge.tenancy import tenant_alias, tenant_context


def run(*arguments, **options):
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def write(tenant, key, *titles):
    with tenant_context(tenant):
        for title in titles:
            Post.objects.create(title=title, content="-", user_id=key)


def titles_of(tenant):
    return sorted(Post.objects.using(tenant_alias(tenant.slug)).values_list("title", flat=True))


def test_dumpdata_and_loaddata_carry_a_tenants_rows_into_another(acme, zeta, in_both, tmp_path):
    write(acme, in_both, "one", "two")
    write(zeta, in_both, "three")
    dumped = run("tenant_command", acme.slug, "dumpdata", "--indent", "2", "blog")
    rows = json.loads(dumped)
    assert [row["fields"]["title"] for row in rows] == ["one", "two"]
    for row in rows:
        row["pk"] += 100
    (tmp_path / "posts.json").write_text(json.dumps(rows))
    told = run("tenant_command", zeta.slug, "loaddata", str(tmp_path / "posts.json"))
    assert "Installed 2 object(s)" in told
    assert titles_of(zeta) == ["one", "three", "two"]
    assert titles_of(acme) == ["one", "two"]


def test_a_fixture_that_fails_in_the_middle_leaves_the_tenant_as_it_was(acme, in_both, tmp_path):
    write(acme, in_both, "one")
    rows = json.loads(run("tenant_command", acme.slug, "dumpdata", "blog"))
    new = {**rows[0], "pk": 50}
    orphan = {**new, "pk": 51, "fields": {**new["fields"], "user": 999_999}}
    (tmp_path / "posts.json").write_text(json.dumps([new, orphan]))
    with pytest.raises(IntegrityError, match="(?i)foreign key"):
        run("tenant_command", acme.slug, "loaddata", str(tmp_path / "posts.json"))
    assert titles_of(acme) == ["one"]


def test_showmigrations_tells_the_tenants_own(acme):
    MigrationRecorder(connections[tenant_alias(acme.slug)]).record_unapplied("blog", "0001_initial")
    assert "[ ] 0001_initial" in run("tenant_command", acme.slug, "showmigrations", "blog")


def test_shell_finds_the_tenant_current(acme, in_both, capsys):
    write(acme, in_both, "here")
    code = "from blog.models import Post; print([post.title for post in Post.objects.all()])"
    run("tenant_command", acme.slug, "shell", "--no-imports", "--command", code)
    assert "['here']" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["createsuperuser"], "passwords are in the shared database.*create_tenant"),
        (["changepassword", "ada"], "passwords are in the shared database"),
        (["runserver"], "works on what all tenants share"),
        (["tenant_delete", "zeta"], "chooses its own tenants"),
        (["no_such_command"], "'no_such_command' does not exist"),
        (["dumpdata", "--database=default"], "Leave --database out"),
        (["dumpdata", "--database", "tenant/zeta"], "Leave --database out"),
    ],
)
def test_what_makes_no_sense_in_a_tenant_is_refused_with_the_reason(acme, arguments, told):
    with pytest.raises(CommandError, match=told):
        run("tenant_command", acme.slug, *arguments)
    with pytest.raises(CommandError, match=told):
        run("all_tenants_command", *arguments)


def test_a_tenant_that_is_not_there_gets_no_command(db):
    for slug in ("nobody", "../acme", "ACME"):
        with pytest.raises(CommandError, match="tenant"):
            run("tenant_command", slug, "showmigrations")
    with pytest.raises(CommandError, match="'nobody'"):
        run("all_tenants_command", "--tenant", "nobody", "showmigrations")


def test_all_tenants_run_a_command_side_by_side_and_a_table_tells_the_outcome(acme, zeta, in_both):
    write(acme, in_both, "of-acme")
    write(zeta, in_both, "of-zeta")
    out = run("all_tenants_command", "--jobs", "2", "dumpdata", "blog")
    parts = out.split("== ")
    assert len(parts) == 3
    (of_acme,) = [part for part in parts if part.startswith(acme.slug)]
    assert "of-acme" in of_acme and "of-zeta" not in of_acme
    assert "2 tenants, 0 failed." in out


def test_a_tenant_that_fails_is_named_and_does_not_stop_the_others(acme, zeta):
    with connections[tenant_alias(acme.slug)].cursor() as cursor:
        cursor.execute("DROP TABLE blog_post")
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {acme.slug}"):
        call_command("all_tenants_command", "dumpdata", "blog", stdout=out, stderr=out)
    lines = out.getvalue().splitlines()
    assert [line.split()[-1] for line in lines if line.lstrip().startswith(zeta.slug)] == ["ok"]
    assert any("blog_post" in line for line in lines if line.lstrip().startswith(acme.slug))


def test_some_tenants_alone_can_be_named(acme, zeta):
    out = run("all_tenants_command", "--tenant", zeta.slug, "showmigrations", "blog")
    assert zeta.slug in out and acme.slug not in out


def test_a_shell_is_for_one_tenant(acme):
    with pytest.raises(CommandError, match="tenant_command SLUG shell"):
        run("all_tenants_command", "shell")


def test_ctrl_c_lets_the_tenants_end_that_have_begun_and_leaves_the_others(acme, zeta, monkeypatch):
    def interrupted(slug, *args, **streams):
        begun.append(slug)
        os.kill(os.getpid(), signal.SIGINT)
        real(slug, *args, **streams)

    real, begun = all_tenants_command.run_for_tenant, []
    monkeypatch.setattr(all_tenants_command, "run_for_tenant", interrupted)
    out = StringIO()
    with pytest.raises(CommandError, match="Interrupted after 1 of 2 tenants") as caught:
        call_command("all_tenants_command", "showmigrations", "blog", stdout=out, stderr=out)
    assert caught.value.returncode == 130
    assert begun == [acme.slug]
    assert "1 tenants, 0 failed" in out.getvalue()
