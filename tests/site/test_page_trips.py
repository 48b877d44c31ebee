"""How many round trips each page takes, exactly."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.models import Membership, SignInFailure, User
from do_bridge.admin import GatherMixin

#: The session with its user; Django's own reads them one after the other.
SIGN_IN = 1


@pytest.fixture
def page(site, sign_in, client, write_post, count_trips):
    """Return (trips, text) of a page that a person has seen before; "visitor" is not signed in."""
    posts = [write_post(title=f"Post {number}") for number in range(12)]
    keys = {"post": posts[-1], "user": site.bo.pk, "tenant": site.tenants["acme"].pk}
    keys["membership"] = Membership.objects.get(user=site.bo).pk
    Group.objects.get_or_create(name="one")
    Group.objects.get_or_create(name="two")

    def get(person, path, data=None):
        browser = client if person == "visitor" else sign_in(person)
        path = path.format(**keys)
        browser.get(path)
        with count_trips() as trips:
            response = browser.get(path) if data is None else browser.post(path, data)
        assert response.status_code == (200 if data is None else 302), response
        return trips.count, response.content.decode()

    yield get
    Group.objects.all().delete()


@pytest.mark.parametrize(
    ("person", "path", "trips"),
    [
        ("visitor", "/t/acme/", 1),
        ("visitor", "/t/acme/posts/{post}/", 1),
        # The page and the membership.
        ("bo", "/t/acme/", SIGN_IN + 1),
        ("bo", "/t/acme/posts/{post}/", SIGN_IN + 1),
        ("ada", "/t/acme/posts/{post}/edit/", SIGN_IN + 1),
        # The log.
        ("root", "/admin/", SIGN_IN + 1),
        ("root", "/t/acme/admin/", SIGN_IN + 1),
        # Counts, rows, range of dates and choices of filters; then the links of the date hierarchy.
        ("root", "/admin/accounts/user/", SIGN_IN + 2),
        ("root", "/admin/accounts/tenant/", SIGN_IN + 2),
        ("root", "/admin/accounts/membership/", SIGN_IN + 2),
        ("root", "/admin/admin/logentry/", SIGN_IN + 2),
        ("root", "/t/acme/admin/blog/post/", SIGN_IN + 2),
        ("root", "/t/acme/admin/blog/post/?q=Post", SIGN_IN + 2),
        ("root", "/t/acme/admin/admin/logentry/", SIGN_IN + 2),
        ("root", "/t/acme/admin/accounts/user/", SIGN_IN + 1),
        # The row with its many-to-many relations, the rows of the inlines, the choices of all fields.
        ("root", "/admin/accounts/user/{user}/change/", SIGN_IN + 3),
        ("root", "/admin/accounts/tenant/{tenant}/change/", SIGN_IN + 3),
        ("root", "/admin/accounts/membership/{membership}/change/", SIGN_IN + 2),
        ("root", "/t/acme/admin/blog/post/{post}/change/", SIGN_IN + 2),
        ("root", "/t/acme/admin/accounts/user/{user}/change/", SIGN_IN + 1),
    ],
)
def test_a_page_takes_few_trips(page, person, path, trips):
    assert page(person, path)[0] == trips


@pytest.mark.parametrize(
    ("path", "trips"),
    [("/t/acme/posts/{post}/edit/", SIGN_IN + 2), ("/t/acme/posts/new/", SIGN_IN + 2)],
)
def test_a_saved_post_takes_two_trips_after_sign_in(page, path, trips):
    # The membership, with the post if there is one, and the write.
    assert page("ada", path, {"title": "A title", "content": "Text"})[0] == trips


def test_a_row_saved_in_a_tenants_admin_commits_with_the_row_of_the_log(page, site):
    data = {"title": "x", "content": "y", "user": site.bo.pk}
    data |= {"published_at_0": "2026-01-01", "published_at_1": "10:00"}
    trips, _ = page("root", "/t/acme/admin/blog/post/{post}/change/", data)
    # The row, the user that was chosen (to show, then to check), the row's write, and the log's.
    assert trips == SIGN_IN + 5
    trips, _ = page("root", "/t/acme/admin/blog/post/add/", data)
    assert trips == SIGN_IN + 4


#: Pages whose reads depend on what they read: filters, pages, dates, searches, and choices.
PAGES = [
    "/admin/accounts/user/",
    "/admin/accounts/user/?groups__id__exact=1",
    "/admin/accounts/user/?groups__isnull=True",
    "/admin/accounts/user/?q=nobody",
    "/admin/accounts/user/?all=",
    "/admin/accounts/user/?p=2",
    "/admin/accounts/user/?_facets=True",
    "/admin/accounts/user/?date_joined__year=2026",
    "/admin/accounts/user/{user}/change/",
    "/admin/accounts/user/add/",
    "/admin/accounts/tenant/{tenant}/change/",
    "/admin/accounts/membership/{membership}/change/",
    "/admin/accounts/signinfailure/",
    "/t/acme/admin/blog/post/",
    "/t/acme/admin/blog/post/?p=2",
    "/t/acme/admin/blog/post/?p=1&o=1",
    "/t/acme/admin/blog/post/{post}/change/",
    "/t/acme/admin/blog/post/add/",
]


def plain(text):
    """Return a page without what differs each time."""
    text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)
    text = re.sub(r'value="\d\d:\d\d:\d\d"', "", text)
    return re.sub(r'nonce="[^"]+"', "", text)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_the_same_as_without_the_mixin(page, monkeypatch, path):
    from accounts.admin import UserAdmin
    from blog.admin import PostAdmin

    SignInFailure.objects.create(username="x", address="127.0.0.1", last_at=0, token="")
    monkeypatch.setattr(PostAdmin, "list_per_page", 5)
    monkeypatch.setattr(UserAdmin, "list_per_page", 2)
    trips, text = page("root", path)
    for name in list(vars(GatherMixin)):
        if not name.startswith("__") and name != "_stub":
            monkeypatch.delattr(GatherMixin, name)
    trips_without, expected = page("root", path)
    assert plain(text) == plain(expected)
    assert trips <= trips_without


@pytest.mark.parametrize("text", ["nosuch", "1x", "9" * 30])
def test_a_text_that_is_not_a_key_is_answered_by_djangos_page(sign_in, text):
    answer = sign_in("root").get(f"/admin/accounts/user/{text}/change/", follow=True)
    assert "doesn’t exist" in answer.text


def test_a_fault_in_the_code_of_a_key_is_raised_as_without_the_mixin(monkeypatch):
    def broken(value):
        raise ZeroDivisionError("a fault of the field")

    user_admin = admin.site.get_model_admin(User)
    monkeypatch.setattr(User._meta.pk, "to_python", broken)
    with pytest.raises(ZeroDivisionError, match="a fault of the field"):
        user_admin._stub(None, "1")
