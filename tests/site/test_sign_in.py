"""Signing in is slowed down for who guesses, at each of the three doors, and for nobody else."""

import asyncio
import threading
import time
from contextlib import closing

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.backends import ModelBackend
from django.db import connections
from django.test import Client, RequestFactory

from accounts import throttle
from accounts.models import SignInFailure
from accounts.sign_in import CLOSED
from accounts.throttle import FADE, OF_ADDRESS, OF_NAME, client_address, count_failure, is_open

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
        assert count_failure(f"name{number}", address)
    assert not is_open("ada", address)
    assert not count_failure("ada", address)
    assert is_open("ada", "192.0.2.10")
    assert not SignInFailure.objects.filter(username="ada", address=address).exists()


def test_a_count_is_forgotten_after_a_day(knock, clock):
    for _ in range(OF_NAME.failures - 1):
        knock()
    clock(throttle.FORGET + 1)
    knock()
    assert SignInFailure.objects.get(username="root").failures == 1


def test_what_many_people_mistype_from_day_to_day_never_closes_their_common_address(site, clock):
    for _day in range(6):
        for person in range(12):
            assert count_failure(f"person{person}", "192.0.2.8")
            clock(600)
        clock(12 * 3600)
    assert is_open("ada", "192.0.2.8")


def test_who_waits_for_failures_to_be_forgotten_gains_no_guess(site, clock):
    guesses, seconds = 0, 0
    while seconds < 24 * 3600:
        while count_failure("root", "192.0.2.6"):
            guesses += 1
        wait = OF_NAME.failures * FADE
        clock(wait)
        seconds += wait
    assert guesses <= OF_NAME.failures + seconds / FADE


@pytest.fixture
def meet(monkeypatch):
    """Lets so many sign-ins meet after they have found the door open, and before they look at a password."""

    def meet(count):
        barrier = threading.Barrier(count, timeout=20)
        original = ModelBackend.authenticate

        def look(self, *args, **kwargs):
            barrier.wait()
            return original(self, *args, **kwargs)

        monkeypatch.setattr(ModelBackend, "authenticate", look)

    return meet


def side_by_side(count, work):
    """Call `work` in so many threads at once; return what they returned."""
    results = []

    def run():
        with closing(connections["default"]):
            results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def test_of_guesses_side_by_side_no_more_are_answered_than_the_limit_allows(site, meet):
    def guess():
        request = RequestFactory().post("/")
        assert authenticate(request, username="root", password="wrong") is None
        return getattr(request, "sign_in_closed", False)

    meet(12)
    assert side_by_side(12, guess).count(False) == OF_NAME.failures


def test_a_right_guess_is_not_told_once_others_beside_it_have_closed_the_door(site, monkeypatch):
    original = ModelBackend.authenticate

    def look(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        for _ in range(OF_NAME.failures):
            assert count_failure("root", "127.0.0.1")
        return found

    monkeypatch.setattr(ModelBackend, "authenticate", look)
    request = RequestFactory().post("/")
    assert authenticate(request, username="root", password="a-pass-word") is None
    assert request.sign_in_closed
    assert SignInFailure.objects.get(username="root").failures == OF_NAME.failures


def test_right_passwords_side_by_side_are_all_let_in_and_leave_nothing(knock, meet):
    count = OF_NAME.failures * 2
    meet(count)
    answers = side_by_side(count, lambda: knock(password="a-pass-word").status_code)
    assert answers == [302] * count
    assert not SignInFailure.objects.exists()


def test_a_sign_in_forgets_what_its_name_failed_and_not_what_its_address_did(knock):
    knock()
    knock("ada")
    knock(password="a-pass-word")
    assert set(SignInFailure.objects.values_list("username", "failures")) == {("ada", 1), ("", 2)}


def test_a_sign_in_takes_two_trips_more(site, settings, count_trips):
    def trips_of_a_sign_in():
        client = Client()
        with count_trips() as trips:
            assert client.post(DOORS[0], {"username": "bo", "password": "a-pass-word"}).status_code == 302
        return trips.count

    with_it = trips_of_a_sign_in()
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
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
    assert authenticate(username="bo", password="wrong") is None
    assert not SignInFailure.objects.exists()


def test_an_attempt_without_a_password_is_another_backends(site):
    assert authenticate(RequestFactory().post("/"), username="bo", password=None) is None
    assert not SignInFailure.objects.exists()


def test_an_async_attempt_is_counted_too(site):
    for _ in range(OF_NAME.failures):
        asyncio.run(aauthenticate(RequestFactory().post("/"), username="bo", password="wrong"))
    request = RequestFactory().post("/")
    assert asyncio.run(aauthenticate(request, username="bo", password="a-pass-word")) is None
    assert request.sign_in_closed


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
