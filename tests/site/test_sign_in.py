"""Signing in is slowed down for who guesses, at each of the three doors, and for nobody else."""

import threading
import time
from contextlib import closing

import pytest
from django.contrib.auth import authenticate
from django.db import connections
from django.test import Client, RequestFactory

from accounts import throttle
from accounts.models import SignInFailure
from accounts.sign_in import CLOSED
from accounts.throttle import OF_ADDRESS, OF_NAME, client_address, take_attempt

DOORS = ["/accounts/login/", "/t/acme/accounts/login/", "/admin/login/", "/t/acme/admin/login/"]


@pytest.fixture
def knock(site):
    """Tries to sign in, from an address; returns the response."""

    def knock(name="root", password="wrong", door="/accounts/login/", address="192.0.2.1"):  # noqa: S107
        fields = {"username": name, "password": password}
        return Client(REMOTE_ADDR=address).post(door, fields)

    return knock


@pytest.fixture
def clock(monkeypatch):
    """The time, in seconds, that a test moves on."""
    now = [time.time()]
    monkeypatch.setattr(throttle.time, "time", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def is_closed(response):
    return response.status_code == 200 and CLOSED in response.content.decode()


@pytest.mark.parametrize("door", DOORS)
def test_each_door_closes_after_five_wrong_passwords_for_the_right_one_too(knock, door):
    for _ in range(OF_NAME.failures):
        assert not is_closed(knock(door=door))
    assert is_closed(knock(door=door))
    assert is_closed(knock(password="a-pass-word", door=door))
    # One count for all doors.
    assert is_closed(knock(password="a-pass-word", door=DOORS[0]))


def test_a_closed_door_says_the_same_for_a_name_that_nobody_has(knock):
    texts = []
    for name in ("root", "nobody"):
        answers = [knock(name).content.decode() for _ in range(OF_NAME.failures + 1)]
        forms = [page.partition('<form class="form"')[2].partition("</form>")[0] for page in answers]
        texts.append([without_token(form).replace(name, "NAME") for form in forms])
        SignInFailure.objects.all().delete()
    assert texts[0] == texts[1]
    assert CLOSED in texts[0][-1]


def without_token(form):
    before, mark, rest = form.partition('name="csrfmiddlewaretoken" value="')
    return before + mark + rest.partition('"')[2]


def test_another_address_and_another_name_are_let_in(knock):
    for _ in range(OF_NAME.failures + 1):
        knock()
    assert knock(password="a-pass-word", address="192.0.2.2").status_code == 302
    assert knock("ada", "a-pass-word").status_code == 302


def test_the_door_opens_again_and_stays_closed_longer_each_time_but_never_for_ever(knock, clock):
    for _ in range(OF_NAME.failures):
        knock()
    delays = []
    for _ in range(9):
        row = SignInFailure.objects.get(username="root")
        delays.append(row.blocked_until - row.last_at)
        assert is_closed(knock())
        clock(delays[-1] + 1)
        assert not is_closed(knock())
    assert delays == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    clock(901)
    assert knock(password="a-pass-word").status_code == 302
    assert not SignInFailure.objects.filter(username="root").exists()


def test_knocking_at_a_closed_door_keeps_it_closed_no_longer(knock, clock):
    for _ in range(OF_NAME.failures):
        knock()
    before = SignInFailure.objects.get(username="root").blocked_until
    for _ in range(5):
        assert is_closed(knock())
    assert SignInFailure.objects.get(username="root").blocked_until == before


def test_who_tries_many_names_is_stopped_by_the_address(site):
    address = "192.0.2.9"
    for number in range(OF_ADDRESS.failures):
        assert take_attempt(f"name{number}", address)
    assert take_attempt("ada", address) is None
    assert take_attempt("ada", "192.0.2.10")
    assert not SignInFailure.objects.filter(username="ada", address=address).exists()


def test_a_count_is_forgotten_after_a_day(knock, clock):
    for _ in range(OF_NAME.failures - 1):
        knock()
    clock(throttle.FORGET + 1)
    knock()
    assert SignInFailure.objects.get(username="root").failures == 1


def test_guesses_side_by_side_are_all_counted(site):
    taken = []

    def guess():
        with closing(connections["default"]):
            taken.append(take_attempt("root", "192.0.2.7"))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(taken) == 12
    assert sum(token is not None for token in taken) == OF_NAME.failures


def test_a_sign_in_takes_two_trips_more_and_leaves_nothing(site, settings, count_trips):
    def trips_of_a_sign_in():
        client = Client()
        with count_trips() as trips:
            assert client.post(DOORS[0], {"username": "bo", "password": "a-pass-word"}).status_code == 302
        return trips.count

    with_it = trips_of_a_sign_in()
    assert not SignInFailure.objects.exclude(username="").exists()
    assert SignInFailure.objects.get().failures == 0
    settings.AUTHENTICATION_BACKENDS = settings.AUTHENTICATION_BACKENDS[1:]
    assert with_it <= trips_of_a_sign_in() + 2


def test_staff_see_who_is_shut_out_and_let_them_in_again(knock, sign_in):
    for _ in range(OF_NAME.failures + 1):
        knock("bo")
    client = sign_in("root")
    page = client.get("/admin/accounts/signinfailure/").content.decode()
    assert "192.0.2.1" in page
    row = SignInFailure.objects.get(username="bo")
    client.post(f"/admin/accounts/signinfailure/{row.pk}/delete/", {"post": "yes"})
    assert knock("bo", "a-pass-word").status_code == 302


def test_no_tenant_shows_who_failed(knock, sign_in):
    knock("a-name-of-globex", door="/t/globex/accounts/login/")
    client = sign_in("root")
    assert client.get("/t/acme/admin/accounts/signinfailure/").status_code == 404
    for alias in ("tenant/acme", "tenant/globex"):
        assert not SignInFailure.objects.using(alias).exists()


def test_a_sign_in_without_a_request_is_not_counted(site):
    assert authenticate(username="bo", password="a-pass-word") == site.bo
    assert not SignInFailure.objects.exists()


@pytest.mark.parametrize("name", ["nul\0", "x" * 5000, "'; DROP TABLE accounts_user; --", " "])
def test_a_hostile_name_is_a_wrong_name(site, name):
    request = RequestFactory().post("/")
    assert authenticate(request, username=name, password="x") is None


@pytest.mark.parametrize(
    ("count", "forwarded", "peer", "address"),
    [
        (0, "203.0.113.5", "192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.5", "10.0.0.1", "203.0.113.5"),
        (1, "198.51.100.1, 203.0.113.5", "10.0.0.1", "203.0.113.5"),
        (2, "198.51.100.1, 203.0.113.5, 10.0.0.2", "10.0.0.1", "203.0.113.5"),
        (2, "203.0.113.5", "10.0.0.1", "203.0.113.5"),
        (1, "", "10.0.0.1", "10.0.0.1"),
        (1, "<script>", "10.0.0.1", "unknown"),
        (1, "203.0.113.5:49152", "10.0.0.1", "203.0.113.5"),
        (1, "[2001:db8:1:2::9]:49152", "10.0.0.1", "2001:db8:1:2::"),
        (1, "[2001:db8:1:2::9]", "10.0.0.1", "2001:db8:1:2::"),
        (1, ":", "10.0.0.1", "unknown"),
        (0, "", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (0, "", "::ffff:192.0.2.1", "192.0.2.1"),
        (0, "", "", "unknown"),
    ],
)
def test_the_client_is_who_the_trusted_proxies_name(settings, count, forwarded, peer, address):
    settings.PROXY_COUNT = count
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"x-forwarded-for": forwarded})
    assert client_address(request) == address
