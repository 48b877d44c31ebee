"""The pages about databases, and those of passwords, when a connection is cut at any one of their trips."""

import contextlib
from dataclasses import dataclass, field

import pytest
from django.db import connections

from do_bridge import driver
from do_bridge.driver import transport
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.tenancy.tenants import lookup
from project import settings as site_settings
from tests.driver.proxy import Proxy
from tests.inspection.pages import ACME, D1, plain, text

SIDES = {"d1": ("default",), "do": ("tenant/acme", "tenant/globex")}


@dataclass
class Wires:
    """The proxies before both sides; from the trip `at` on, or at it alone, one loses what it carries."""

    proxies: dict
    at: int = 0
    answer: bool = False
    lasts: bool = False
    trips: list = field(default_factory=list)

    def fail(self, at=0, *, answer=False, lasts=False):
        """Begin to count anew; fail at no trip with 0."""
        for proxy in self.proxies.values():
            proxy.refusing = False
            proxy.lose_answers = proxy.delay_requests = 0
        self.at, self.answer, self.lasts, self.trips = at, answer, lasts, []

    def before(self, side):
        """Note a trip that is about to leave to `side`."""
        self.trips.append(side)
        if len(self.trips) != self.at:
            return
        proxy = self.proxies[side]
        if self.lasts:
            proxy.refusing = True
            proxy.cut()
        elif self.answer:
            proxy.lose_answers = 1
        else:
            proxy.delay_requests = 1


@pytest.fixture
def wires(site, local_worker, monkeypatch):
    with contextlib.ExitStack() as stack:
        proxies = {side: stack.enter_context(Proxy(local_worker.port)) for side in SIDES}
        found = Wires(proxies)
        exchange = RelaySession._exchange

        def counted(session, messages, deadline):
            found.before(messages[0]["db"].partition(":")[0])
            return exchange(session, messages, deadline)

        monkeypatch.setattr(RelaySession, "_exchange", counted)
        monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.002)
        before = {}
        for side, aliases in SIDES.items():
            for alias in aliases:
                connections[alias].close()
                before[alias] = connections[alias].settings_dict["HOST"]
                connections[alias].settings_dict["HOST"] = proxies[side].url
        yield found
        found.fail()
        for alias, host in before.items():
            connections[alias].close()
            connections[alias].settings_dict["HOST"] = host
        for proxy in proxies.values():
            driver.relay(proxy.url, local_worker.token).close()


# What happens at the trip: it does not arrive, its answer does not, or nothing does from then on.
FAULTS = ({}, {"answer": True}, {"lasts": True})
ACTION = "/admin/databases/action/"


def walk(wires, ask, *, faults=FAULTS, step=1):
    """Yield (the answer, that to the same once more) for each fault at each `step`th of the page's trips."""
    for fault in faults:
        for at in range(1, 100, step):
            lookup.forget()
            wires.fail(at, **fault)
            response = ask()
            reached = len(wires.trips) >= at
            wires.fail()
            if not reached:
                response.close()
                assert at > 3
                break
            assert response.status_code in (200, 302, 503)
            if not response.streaming:
                assert site_settings.RELAY_TOKEN not in text(response)
            yield response, ask()


@pytest.mark.parametrize(
    "page",
    [
        "/admin/databases/",
        ACME,
        D1,
        f"{ACME}facts.json",
        f"{ACME}migrations/",
        f"{ACME}structure/",
        f"{ACME}structure/blog_post/",
        f"{ACME}health/",
        f"{ACME}tables/blog_post/rows/{{post}}/value.json?c=title",
        f"{ACME}tables/blog_post/",
        f"{ACME}tables/blog_post/rows/{{post}}/",
        "/admin/password_change/",
        "/admin/accounts/user/{root}/password/",
    ],
)
def test_a_page_whose_connection_is_cut_at_a_trip_says_so_and_works_again(
    root, site, wires, write_post, page
):
    root.raise_request_exception = False
    page = page.format(post=write_post(), root=site.root.pk)
    for _, again in walk(wires, lambda: root.get(page), step=3):
        assert again.status_code == 200


@pytest.mark.parametrize("path", [ACME, D1])
def test_sql_whose_connection_is_cut_at_a_trip_is_told_and_works_again(root, site, wires, path):
    root.raise_request_exception = False

    def ask():
        return root.post(f"{path}sql/", {"sql": "SELECT 41 + 1", "run": ""})

    for _, again in walk(wires, ask, step=3):
        page = plain(again)
        while "took longer than" in page:  # on a busy machine
            page = plain(ask())
        assert "42" in page


@pytest.mark.parametrize(
    ("action", "good", "step"),
    # A side that stays away is waited for at each trip: of the longer ones not all are tried.
    [
        ("check", "no damage", 3),
        ("sync", "are up to date", 6),
        ("migrate", "no migrations to apply", 11),
    ],
)
def test_an_action_whose_connection_is_cut_at_a_trip_is_told_and_works_again(
    root, site, wires, action, good, step
):
    root.raise_request_exception = False
    chosen = {"action": action, "database": "tenant/acme", "confirmed": "yes"}
    for response, _ in walk(wires, lambda: root.post(ACTION, chosen), step=step):
        page = plain(root.get("/admin/password_change/"))
        # Those of a page that could not be saved may wait for the next one.
        assert page.count("Tenant acme:") >= 1 + (response.status_code == 302)
        assert good in page
        assert "failed: Not updated" not in page
        assert "check failed: The connection to the relay was lost" not in page


def test_a_dump_whose_connection_is_cut_at_a_trip_is_of_one_moment_or_none(root, site, wires, capsys):
    root.raise_request_exception = False
    chosen = {"action": "dump", "database": "tenant/acme", "confirmed": "yes"}
    # Of its many pages each fifth, by the fault that takes least time.
    for response, again in walk(wires, lambda: root.post(ACTION, chosen), faults=({"answer": True},), step=5):
        for answer in (response, again):
            if answer.streaming:
                b"".join(answer.streaming_content)
        assert again.streaming
    assert "different moments" not in capsys.readouterr().err
