"""`migrate --check` and `--plan` of tenants on which another operation has not finished."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command, load_command_class

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.provision import provision_noted
from do_bridge.tenancy.lifecycle.states import EXCLUSIVE
from tests.tenancy.cut_off import cut_off


def migrate(*arguments):
    out = StringIO()
    call_command("migrate", *arguments, stdout=out, stderr=out, interactive=False, no_color=True)
    return out.getvalue()


@pytest.mark.parametrize("operation", EXCLUSIVE)
def test_check_and_plan_fail_for_a_tenant_with_an_interrupted_operation(acme, zeta, operation):
    provision_noted(acme.slug)
    provision_noted(zeta.slug)
    cut_off(zeta.slug, operation)
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {zeta.slug}. The table has the reasons"):
        call_command("migrate", "--database", "tenant", "--check", stdout=out)
    assert "2 tenants, 1 failed: 0 behind, 1 up to date, 0 not checked." in out.getvalue()
    assert f"an operation ({operation}) was interrupted. To finish it, run" in out.getvalue()
    assert f"({operation}) was interrupted" in migrate("--database", "tenant", "--plan")
    with pytest.raises(CommandError, match=f"These tenants are not ready: {zeta.slug}. The"):
        migrate("--database", "tenant", "--plan", "--check")


def test_check_leaves_a_tenant_alone_that_is_deleted_now(acme, zeta):
    provision_noted(acme.slug)
    provision_noted(zeta.slug)
    cut_off(zeta.slug, "delete", seconds=600)
    output = migrate("--database", "tenant", "--check")
    assert "busy, not checked" in output
    assert "2 tenants, 0 failed: 0 behind, 1 up to date, 1 not checked." in output
    assert migrate("--database", "tenant", "--plan") == "The other tenants are up to date.\n"


def test_check_of_one_tenant_fails_if_its_deletion_was_interrupted(acme, capsys):
    provision_noted(acme.slug)
    cut_off(acme.slug, "delete")
    for option in ("--check", "--plan"):
        with pytest.raises(SystemExit, match="^1$"):
            load_command_class("do_bridge", "migrate").run_from_argv(
                ["manage.py", "migrate", "--database", tenant_alias(acme.slug), option]
            )
        assert f"run `manage.py tenant_delete {acme.slug}` again." in capsys.readouterr().err
