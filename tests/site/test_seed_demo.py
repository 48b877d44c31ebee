"""`seed_demo`: a site with something in it, made once."""

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import Membership, User
from blog.demo import POSTS, TENANTS, USERS
from blog.management.commands.seed_demo import demo_password
from blog.models import Post


@pytest.fixture
def password(monkeypatch):
    monkeypatch.setenv("DEMO_PASSWORD", "chosen-by-somebody")
    return "chosen-by-somebody"


def test_the_demo_is_made_once_however_often_it_is_asked_for(site, password):
    call_command("seed_demo", verbosity=0)
    call_command("seed_demo", verbosity=0)
    for slug in TENANTS:
        titles = {title for tenant, _, title, _ in POSTS if tenant == slug}
        posts = list(Post.objects.using(f"tenant/{slug}").values_list("title", flat=True))
        assert sorted(posts) == sorted(titles)
    assert User.objects.filter(username__in=USERS).count() == len(USERS)


def test_the_demos_people_sign_in_and_its_admin_is_nobodys_member(site, password):
    call_command("seed_demo", verbosity=0)
    client = Client()
    assert client.login(username="admin", password=password)
    assert client.get("/t/lighthouse/admin/blog/post/").status_code == 200
    assert not Membership.objects.filter(user__username="admin").exists()
    owners = Membership.objects.filter(role="owner", tenant__slug__in=TENANTS)
    assert list(owners.values_list("tenant__slug", "user__username")) == [
        ("allotment", "bo"),
        ("lighthouse", "ada"),
    ]


def test_a_user_who_is_there_keeps_their_password(site, password):
    call_command("seed_demo", verbosity=0)
    user = User.objects.get(username="ada")
    user.set_password("changed-by-ada")
    user.save()
    call_command("seed_demo", verbosity=0)
    assert User.objects.get(username="ada").check_password("changed-by-ada")


def test_without_a_chosen_password_a_random_one_is_kept_for_the_owner_alone(settings, monkeypatch, tmp_path):
    monkeypatch.delenv("DEMO_PASSWORD", raising=False)
    settings.BASE_DIR = tmp_path
    password, new = demo_password()
    kept = tmp_path / "state" / "demo-password"
    assert (kept.read_text(), new) == (password + "\n", True)
    assert kept.stat().st_mode & 0o077 == 0
    assert demo_password() == (password, False)


def test_a_password_file_that_was_left_empty_is_written_anew(settings, monkeypatch, tmp_path):
    monkeypatch.delenv("DEMO_PASSWORD", raising=False)
    settings.BASE_DIR = tmp_path
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "demo-password").touch()
    password, new = demo_password()
    assert new
    assert password
    assert demo_password() == (password, False)
