"""The scratch D1 database, against a fake of Cloudflare's API: workerd's own cannot create one.

The fake creates and deletes by name and hands statements on to the real local API.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from do_bridge.doctor import PROBES, Status, examine
from do_bridge.doctor.probe import REST, Probe
from do_bridge.doctor.site import RestAccess
from do_bridge.driver import OperationalError
from tests.conftest import DATABASE_ID
from tests.doctor.conftest import D1_ID

TOKEN, ACCOUNT, SCRATCH_ID = "cloudflare-token-" + "c" * 30, "account-1", DATABASE_ID.format(5)


class FakeCloudflare(ThreadingHTTPServer):
    """`made` and `removed` are names and ids; a status set in `refuses` is the answer to that method."""

    def __init__(self, api_base):
        super().__init__(("127.0.0.1", 0), Handler)
        self.api_base = api_base
        self.made, self.removed, self.used, self.refuses = [], [], set(), {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/client/v4"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._reply(
                401, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}
            )
        elif self.path.endswith("/raw"):
            self._hand_on(self.path.split("/")[-2], body)
        elif "POST" in self.server.refuses:
            self._reply(self.server.refuses["POST"], {"success": False, "errors": []})
        else:
            self.server.made.append(json.loads(body)["name"])
            self._reply(200, {"success": True, "result": {"uuid": SCRATCH_ID}})

    def do_DELETE(self):
        assert self.headers["Authorization"] == f"Bearer {TOKEN}"
        if "DELETE" not in self.server.refuses:
            self.server.removed.append(self.path.rpartition("/")[2])
        self._reply(self.server.refuses.get("DELETE", 200), {"success": True})

    def _hand_on(self, database, body):
        if database.endswith("dead"):
            return self._reply(404, {"success": False, "errors": []})
        self.server.used.add(database)
        url = f"{self.server.api_base}/d1/database/{database}/raw"
        answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, trust_env=False)
        return self._send(answer.status_code, answer.content)

    def _reply(self, status, document):
        self._send(status, json.dumps(document).encode())

    def _send(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def cloudflare(local_worker):
    with FakeCloudflare(local_worker.api_base) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def site(cloudflare, new_site):
    """A Site whose REST access has an account, over the fake."""
    return new_site(d1=None, rest=RestAccess(cloudflare.url, D1_ID, TOKEN, ACCOUNT))


def test_rest_is_tried_in_a_database_of_its_own_on_the_fake_api(site, cloudflare):
    report = examine(site)
    assert [(r.probe.name, r.message) for r in report.of(Status.FAILED)] == []
    assert report.ok
    assert cloudflare.made == [f"do-bridge-doctor-{site.token}"]
    assert cloudflare.removed == [SCRATCH_ID]
    assert cloudflare.used == {SCRATCH_ID}
    # The fake asks for a token and knows its databases, as Cloudflare does.
    passed = {r.probe.name for r in report.of(Status.OK) if r.on == REST}
    assert {"rest-token", "unknown-database"} <= passed


def test_it_is_removed_from_the_fake_api_after_an_interruption(site, cloudflare):
    def interrupted(database):
        raise KeyboardInterrupt

    probe = Probe("made-up", "Made up", (REST,), "", "", "", interrupted)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        examine(site, probes=[probe])
    assert cloudflare.removed == [SCRATCH_ID]


def test_a_fake_token_that_may_create_none_uses_the_configured_database(site, cloudflare):
    cloudflare.refuses["POST"] = 403
    report = examine(site, probes=[probe for probe in PROBES if probe.name in ("answers", "floats", "batch")])
    assert report.ok
    assert cloudflare.used == {D1_ID}
    (note,) = site.notes
    assert "HTTP 403" in note
    assert "permission D1: Edit" in note


def test_one_that_the_fake_api_does_not_delete_is_named(site, cloudflare):
    cloudflare.refuses["DELETE"] = 500
    report = examine(site, probes=[])
    assert not report.ok
    (left,) = report.left
    assert f"do-bridge-doctor-{site.token} was not deleted: HTTP 500" in left
    assert f"wrangler d1 delete do-bridge-doctor-{site.token}" in left


def test_a_dead_fake_api_is_a_note_and_a_failed_probe(site, cloudflare):
    cloudflare.shutdown()
    cloudflare.server_close()
    report = examine(site)
    assert {r.probe.name for r in report.of(Status.FAILED)} == {"answers"}
    assert "could not be reached" in site.notes[0]
    assert TOKEN not in str(site.notes) + str([r.message for r in report.results])


def test_an_error_of_the_fake_api_shows_no_token(site, cloudflare, monkeypatch):
    from do_bridge.doctor import scratch

    def leaks(*args, token, **options):
        raise OperationalError(f"a careless message with {token}")

    monkeypatch.setattr(scratch, "request", leaks)
    examine(site, probes=[])
    assert TOKEN not in site.scrub(site.notes[0])
