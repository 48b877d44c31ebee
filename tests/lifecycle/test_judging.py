"""The oracle finds what is planted."""

import pytest

from do_bridge.tenancy.lifecycle.states import Held, Row
from do_bridge.tenancy.schema.fingerprint import of
from tests.lifecycle.oracle import Done, Tenant, judge

APPLIED = frozenset({("blog", "0001_initial")})
ROW = Row("acme", "ready", fence=5, fingerprint=of(APPLIED), is_registered=True)
HELD = Held(True, of(APPLIED), APPLIED, 5, "me")


def test_a_tenant_whose_sides_agree_has_no_fault():
    assert judge(Tenant(ROW, HELD, copies={1: ("Ada", True)}, members={1: "Ada"}), []) == []


@pytest.mark.parametrize(
    ("tenant", "told"),
    [
        (Tenant(ROW, Held()), "the object is empty"),
        (Tenant(ROW._replace(operation="migrate"), Held()), "has lost its data"),
        (Tenant(ROW._replace(operation="migrate", error="TenantLost: x"), HELD), "taken for one that has"),
        (Tenant(ROW, Held(True, "f00", APPLIED, 5, "me")), "not that of the applied migrations"),
        (
            Tenant(Row("acme", "ready", fence=5, fingerprint="f00", is_registered=True), HELD),
            "another schema",
        ),
        (Tenant(Row("acme", "ready", fence=5, fingerprint=of(APPLIED)), HELD), "D1 has no such tenant"),
        (Tenant(Row("acme", "deleted", fence=5, emptied=5), HELD), "says deleted, and the object is whole"),
        (Tenant(Row("acme", "deleted", fence=5, is_registered=True), Held()), "D1 has the tenant"),
        (Tenant(ROW, Held(True, of(APPLIED), APPLIED, 6, "me")), "fence 6 is higher"),
        (Tenant(ROW, HELD, members={1: "Ada"}), "no dirty flag"),
        (Tenant(ROW, HELD, titles=["acme:1"]), "nobody wrote acme:1"),
        (Tenant(ROW, HELD, elsewhere=["eu"]), "an object in ['eu'] that the ledger does not know"),
    ],
)
def test_a_tenant_whose_sides_do_not_agree_has_one(tenant, told):
    assert any(told in fault for fault in judge(tenant, []))


def test_what_the_processes_were_told_is_compared():
    made = Done("create", ("acme",), 1, 2, "ok")
    deleted = Done("delete", ("acme",), 3, 4, "ok")
    posted = Done("post", ("acme",), 5, 6, "ok", title="acme:1")
    gone = Tenant(Row("acme", "deleted", fence=5, emptied=5), Held())
    assert judge(gone, [made, deleted]) == []
    assert any("last word was a deletion's" in fault for fault in judge(Tenant(ROW, HELD), [made, deleted]))
    later = Done("load", ("acme",), 5, 6, "ok")
    assert any("D1 has no such tenant" in fault for fault in judge(gone, [made, deleted, later]))
    lost = judge(Tenant(ROW, HELD), [posted])
    assert any("acme:1 was confirmed, and is not there" in fault for fault in lost)
    former = judge(Tenant(ROW, HELD, titles=["acme:1"]), [posted, Done("delete", ("acme",), 7, 8, "ok")])
    assert any("is of a tenant before this one" in fault for fault in former)
    copied = Done("copy", ("acme",), 9, 10, "ok")
    history = [posted, Done("delete", ("acme",), 7, 8, "ok"), copied]
    assert judge(Tenant(ROW, HELD, titles=["acme:1"]), history) == []
