"""Owners manage their tenant's members and posts; authors delete their own; nobody else does."""

import pytest
from django.db import connections

from accounts.models import Membership, User
from blog.models import Post
from do_bridge.tenancy.tenants import lookup


def member(site, name, slug="acme"):
    return Membership.objects.get(user=getattr(site, name), tenant__slug=slug)


def post(client, path, **values):
    return client.post(f"/t/acme/{path}", values, follow=True).content.decode()


def test_an_owner_adds_a_member_who_can_write_at_once(site, sign_in):
    assert "Gil is a member now." in post(sign_in("ada"), "members/add/", username="gil", role="member")
    assert User.objects.using("tenant/acme").get(pk=site.gil.pk).is_active
    assert "Members" in sign_in("gil").get("/t/acme/").content.decode()


@pytest.mark.parametrize(
    ("name", "told"), [("nobody", "No user has this name"), ("bo", "is a member already")]
)
def test_a_wrong_name_is_told_beside_its_field(site, sign_in, name, told):
    assert told in post(sign_in("ada"), "members/add/", username=name, role="member")
    assert Membership.objects.filter(tenant__slug="acme").count() == 2


def test_an_owner_changes_roles_and_removes_members_whose_posts_stay(site, sign_in, write_post):
    write_post(author="bo")
    ada = sign_in("ada")
    assert "Bo is owner now." in post(ada, f"members/{member(site, 'bo').pk}/role/", role="owner")
    assert "no longer a member" in post(ada, f"members/{member(site, 'bo').pk}/remove/")
    assert not User.objects.using("tenant/acme").get(pk=site.bo.pk).is_active
    assert Post.objects.using("tenant/acme").count() == 1


def test_the_last_owner_stays(site, sign_in):
    ada = sign_in("ada")
    own = member(site, "ada").pk
    assert "A tenant needs an owner" in post(ada, f"members/{own}/role/", role="member")
    assert "A tenant needs an owner" in post(ada, f"members/{own}/remove/")
    assert member(site, "ada").role == "owner"


def test_two_owners_who_step_down_at_once_leave_one(site, sign_in):
    from accounts.tenant_members import _kept_owned

    Membership.objects.filter(tenant__slug="acme").update(role="owner")
    first, second = member(site, "ada"), member(site, "bo")
    tenant = site.tenants["acme"]
    # Both have seen two owners before either writes.
    assert [_kept_owned(tenant, one).update(role="member") for one in (first, second)] == [1, 0]


@pytest.mark.parametrize("path", ["members/add/", "members/{}/role/", "members/{}/remove/"])
def test_members_and_owners_of_other_tenants_manage_nobody(site, sign_in, path):
    Membership.objects.filter(user=site.gil).update(role="owner")
    url = f"/t/acme/{path.format(member(site, 'ada').pk)}"
    for name in ("bo", "gil", "root"):
        assert sign_in(name).post(url, {"username": "gil", "role": "member"}).status_code == 403, name
    assert Membership.objects.filter(tenant__slug="acme").count() == 2


def test_an_owner_does_not_reach_the_members_of_another_tenant(site, sign_in):
    other = member(site, "gil", "globex").pk
    for path in ("role", "remove"):
        assert sign_in("ada").post(f"/t/acme/members/{other}/{path}/", {"role": "owner"}).status_code == 404
    assert (
        sign_in("ada").post(f"/t/acme/members/{member(site, 'bo').pk}/role/", {"role": "x"}).status_code
        == 404
    )


def test_the_members_are_for_members(site, sign_in, client):
    assert "Add a member" in sign_in("ada").get("/t/acme/members/").content.decode()
    page = sign_in("bo").get("/t/acme/members/").content.decode()
    assert "Ada" in page
    assert "Add a member" not in page
    assert sign_in("gil").get("/t/acme/members/").status_code == 403
    assert client.get("/t/acme/members/").status_code == 302


def test_a_dead_worker_leaves_the_change_in_d1_and_the_next_use_copies_it(site, sign_in, monkeypatch):
    ada = sign_in("ada")
    ada.get("/t/acme/")
    with monkeypatch.context() as patched:
        patched.setitem(connections["tenant/acme"].settings_dict, "HOST", "http://127.0.0.1:9")
        connections["tenant/acme"].close()
        answer = ada.post("/t/acme/members/add/", {"username": "gil", "role": "member"})
    connections["tenant/acme"].close()
    assert answer.status_code == 302
    assert Membership.objects.filter(user=site.gil, tenant__slug="acme").exists()
    lookup.forget()
    page = ada.get("/t/acme/members/").content.decode()
    assert "could not be copied" in page
    assert User.objects.using("tenant/acme").get(pk=site.gil.pk).is_active


def test_authors_delete_their_own_posts_and_owners_all(site, sign_in, write_post):
    own, other = write_post(author="bo", title="Mine"), write_post(author="ada", title="Hers")
    bo = sign_in("bo")
    assert "Delete “Mine”?" in bo.get(f"/t/acme/posts/{own}/delete/").content.decode()
    assert "“Mine” was deleted." in post(bo, f"posts/{own}/delete/")
    assert bo.post(f"/t/acme/posts/{other}/delete/").status_code == 403
    third = write_post(author="bo")
    assert "was deleted" in post(sign_in("ada"), f"posts/{third}/delete/")
    for name in ("gil", "root"):
        assert sign_in(name).post(f"/t/acme/posts/{other}/delete/").status_code == 403
    assert list(Post.objects.using("tenant/acme").values_list("pk", flat=True)) == [other]
