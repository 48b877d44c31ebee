"""`/api/users` in pages: every user once, both sides up to the same key."""

import pytest

from accounts import api
from accounts.models import User

URL = "/t/acme/api/users"


@pytest.fixture
def many(site, monkeypatch):
    """Nine more users of D1, of whom the even ones have a row in the object; three in an answer."""
    monkeypatch.setattr(api, "LIMIT", 3)
    made = User.objects.bulk_create(User(username=f"user {number}", password="!") for number in range(9))
    User.objects.using("tenant/acme").bulk_create(
        User(pk=user.pk, username=user.username) for user in made if user.pk % 2 == 0
    )
    return made


def test_the_pages_hold_every_user_once_and_both_sides_go_equally_far(many, sign_in):
    client, after, sides, answers = sign_in("root"), 0, {"d1": [], "object": []}, 0
    while after is not None:
        answer = client.get(URL, {"after": after}).json()
        for name, rows in sides.items():
            keys = [row["id"] for row in answer[name]]
            assert len(keys) <= 3
            assert all(after < key <= (answer["next"] or key) for key in keys)
            rows += keys
        after, answers = answer["next"], answers + 1
    assert sides["d1"] == list(User.objects.order_by("pk").values_list("pk", flat=True))
    in_object = User.objects.using("tenant/acme").order_by("pk")
    assert sides["object"] == list(in_object.values_list("pk", flat=True))
    assert answers >= 5


def test_a_short_answer_says_that_nothing_follows(site, sign_in):
    assert sign_in("root").get(URL).json()["next"] is None


@pytest.mark.parametrize("after", ["", "-1", "x", "1.5", "9" * 19, "9" * 5000, "\u0661"])
def test_what_is_no_key_is_refused(site, sign_in, after):
    assert sign_in("root").get(URL, {"after": after}).status_code == 400
