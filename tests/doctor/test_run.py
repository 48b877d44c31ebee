"""A whole run on real workerd: what it finds, what it leaves, and how it ends when something is wrong."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from do_bridge import driver
from do_bridge.doctor import PROBES, Report, Status, examine
from do_bridge.doctor.databases import PREFIX
from do_bridge.doctor.probe import D1, OBJECT, RELAY, REST, Probe, Wrong
from do_bridge.doctor.report import as_json, as_text
from do_bridge.doctor.site import RelayAccess, RestAccess, Site
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession
from tests.doctor.conftest import D1_ID, site_of

ROOT = Path(__file__).resolve().parents[2]
LOCAL_DIFFERENCES = {(probe.name, kind) for probe in PROBES for kind in probe.local}
# The tests' Workers have a stand-in for jurisdictions.
ON_A_STAND_IN = {("jurisdictions-apart", OBJECT)}

LIVE = (
    "CREATE TABLE IF NOT EXISTS author (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)",
    "CREATE TABLE IF NOT EXISTS post (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author)",
    "CREATE VIEW IF NOT EXISTS names AS SELECT name FROM author",
    "INSERT OR IGNORE INTO author (name) VALUES ('ann'), ('bob')",
    "INSERT OR IGNORE INTO post VALUES (1, 1), (2, 2)",
)


def probe_of(check, on=(OBJECT, D1), name="made-up", **options):
    return Probe(name, "Made up", on, "A fact.", "A reason.", "Do this.", check, **options)


def failures(report):
    return [(result.probe.name, result.on, result.message) for result in report.of(Status.FAILED)]


def tables_in(database):
    """The tables and views of the doctor in a database, or on a driver's connection."""
    connection = getattr(database, "connection", database)
    return connection.execute("SELECT name FROM sqlite_master WHERE name GLOB %s", [f"{PREFIX}*"]).fetchall()


def contents(connection):
    """The schema and the rows of a database, without the runtime's own tables."""
    schema_rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master "
        "WHERE name NOT GLOB '__miniflare*' AND name NOT GLOB '_cf_*' ORDER BY 1, 2"
    )
    found = [schema_rows.fetchall()]
    for table in ("author", "post", "sqlite_sequence"):
        found.append(connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall())
    return found


@dataclass
class Whole:
    """A whole run: the databases that were asked, and what live ones held before it and after it."""

    site: Site
    report: Report
    asked: set[str]
    before: list
    after: list


@pytest.fixture(scope="module")
def whole(local_worker):
    """A whole run beside a tenant's object and D1 with tables and rows."""
    relay = RelayTransport(local_worker.url, local_worker.token)
    live = [driver.connect(relay, name, write_keys=False) for name in ("do:tenant/live", f"d1:{D1_ID}")]
    for connection in live:
        for sql in LIVE:
            connection.execute(sql)
    before = [contents(connection) for connection in live]
    asked, send = set(), RelaySession.request

    def request(session, message, deadline):
        asked.add(message.get("db"))
        return send(session, message, deadline)

    site = site_of(local_worker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RelaySession, "request", request)
        report = examine(site)
    yield Whole(site, report, asked, before, [contents(connection) for connection in live])
    for connection in live:
        for sql in ("DROP VIEW names", "DROP TABLE post", "DROP TABLE author"):
            connection.execute(sql)
    relay.close()


def test_the_local_runtime_passes_but_for_its_known_differences(whole):
    site, report = whole.site, whole.report
    assert failures(report) == []
    # All of them: one that is none any more has to be taken out.
    assert {(r.probe.name, r.on) for r in report.of(Status.LOCAL_ONLY)} == LOCAL_DIFFERENCES - ON_A_STAND_IN
    assert {r.probe.name for r in report.of(Status.SKIPPED)} == {"token-scope", "jurisdiction-alone"}
    assert (report.ok, report.left, site.is_local) == (True, [], True)
    assert len(PROBES) >= 40


def test_values_are_measured(whole):
    measured = json.loads(as_json(whole.site, whole.report, "1.2.3"))
    for name, kinds in {
        "read alone (ms)": {OBJECT},
        "read in a savepoint (ms)": {OBJECT},
        "transaction that reads (ms)": {OBJECT},
        "round trip (ms)": {OBJECT, D1, REST},
        "error messages whole up to (characters)": {OBJECT, D1, REST},
        "batches": {OBJECT, D1, REST},
        "trigger bodies": {OBJECT, D1, REST},
        "internal tables": {OBJECT, D1, REST},
        "clock difference (s)": {OBJECT, D1, REST},
        "size (bytes)": {OBJECT, D1},
        "version": {RELAY},
    }.items():
        assert set(measured["measured"][name]) == kinds, name
    # The local runtime carries what a block reads up to the size of a message.
    largest = measured["measured"]["values read in a block up to (characters)"]
    assert largest == dict.fromkeys((D1, REST), 499_000)
    assert measured["versions"]["do_bridge"] == "1.2.3"
    assert measured["versions"]["relay's Worker"] == "local"
    assert re.fullmatch(r"3\.\d+ or newer", measured["versions"]["SQLite"])
    assert "__miniflare" in measured["measured"]["internal tables"][OBJECT]


def test_the_text_report_names_what_differs_locally(whole):
    text = "\n".join(line for _, line in as_text(whole.site, whole.report, "1"))
    assert text.startswith("Examining the local runtime: relay http://127.0.0.1:")
    assert "local only rest-token" in text
    assert "REST: the local API needs no token" in text
    assert re.search(r"\d+ answers in [\d.]+ s: \d+ ok, 3 skipped, 5 local only, 0 failed\.", text)


def test_a_failed_probe_says_what_it_means_and_what_to_do(new_site):
    def wrong(database):
        raise Wrong("it was otherwise")

    site = new_site(rest=None)
    report = examine(site, probes=[probe_of(wrong)])
    text = "\n".join(line for _, line in as_text(site, report, "1"))
    assert not report.ok
    for part in ("failed     made-up", "object, D1: it was otherwise", "A fact. A reason.", "Do this."):
        assert part in text
    entry = json.loads(as_json(site, report, "1"))["probes"][0]
    assert (entry["status"], entry["message"], entry["fix"]) == ("failed", "it was otherwise", "Do this.")


def test_a_known_difference_fails_away_from_the_local_runtime(new_site):
    def wrong(database):
        raise Wrong("it was otherwise")

    probe = probe_of(wrong, on=(OBJECT,), local={OBJECT: "the local runtime does so"})
    site = new_site(d1=None, rest=None)
    assert [r.status for r in examine(site, probes=[probe]).results] == [Status.LOCAL_ONLY]
    site = new_site(d1=None, rest=None)
    site.relay.version = lambda: "0123456789abcdef"
    assert [r.status for r in examine(site, probes=[probe]).results] == [Status.FAILED]


def test_an_unreachable_database_is_no_known_difference(new_site):
    def unreachable(database):
        raise driver.OperationalError("it cannot be reached")

    probe = probe_of(unreachable, on=(OBJECT,), local={OBJECT: "the local runtime does so"})
    report = examine(new_site(d1=None, rest=None), probes=[probe])
    assert [r.status for r in report.results] == [Status.FAILED]


def test_a_database_that_does_not_answer_is_asked_once(new_site, local_worker):
    site = new_site(d1=RelayAccess(local_worker.url, local_worker.token, "no-such-id"), rest=None)
    report = examine(site)
    assert {r.probe.name for r in report.of(Status.FAILED) if r.on == D1} == {"answers"}
    assert all(r.status is Status.SKIPPED for r in report.results if r.on == D1 and r.probe.name != "answers")
    assert not [r for r in report.of(Status.FAILED) if r.on != D1]
    (failed,) = report.of(Status.FAILED)
    assert "D1_DATABASES" in failed.message


def test_a_run_that_is_out_of_time_is_not_ok_and_cleans_up(new_site):
    report = examine(new_site(), seconds=0)
    assert {r.status for r in report.results} == {Status.SKIPPED}
    assert (report.ok, report.complete, report.left) == (False, False, [])


# What is left behind: nothing.


def test_live_tenants_and_d1_are_as_they_were(whole):
    assert whole.before == whole.after
    assert [len(rows) for _, *tables in whole.before for rows in tables[:2]] == [2, 2, 2, 2]


def test_no_object_but_the_scratch_one_is_reached(whole):
    refused = {"do:Doctor", "do:doc tor", "do:doctor/../x", "do:a/b/c/d/e", "do:doctor/"}
    unknown = {"d1:00000000-0000-4000-8000-00000000dead"}
    own = f"do:doctor/{whole.site.token}"
    assert (
        whole.asked == {own, f"{own}@eu", f"{own}/hint", f"{own}/erased", f"d1:{D1_ID}"} | refused | unknown
    )


def test_two_runs_at_once_do_not_meet(new_site):
    reports = []
    probes = PROBES[::3]
    run = lambda: reports.append(examine(new_site(), probes=probes))  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.ok for report in reports] == [True, True]


def leaves_a_table(database):
    """A probe whose table was committed, as if batches were not atomic, and a transaction open."""
    table = database.table("left")
    database.batch(f"CREATE TABLE {table} (a)", f"CREATE VIEW {table}_v AS SELECT * FROM {table}")
    assert tables_in(database)
    if database.kind == OBJECT:
        database.connection.begin()
        database.batch(f"INSERT INTO {table} VALUES (1)")


@pytest.mark.parametrize(
    "end", [Wrong("wrong"), ValueError("a mistake"), KeyboardInterrupt(), SystemExit(143)]
)
def test_nothing_is_left_behind_however_a_run_ends(end, new_site, relay):
    def ends(database):
        leaves_a_table(database)
        if database.kind == D1:
            raise end

    site, report = new_site(rest=None), Report()
    probes = [probe_of(ends)]
    if isinstance(end, Exception):
        assert not examine(site, probes=probes, report=report).ok
    else:
        with pytest.raises(type(end)):
            examine(site, probes=probes, report=report)
    assert report.left == []
    for name in (f"do:doctor/{site.token}", f"d1:{D1_ID}"):
        names = driver.connect(relay, name).execute("SELECT name FROM sqlite_master").fetchall()
        assert not [name for (name,) in names if name.startswith("_do_bridge")]


def test_what_cannot_be_removed_is_named_and_fails_the_run(new_site, local_worker, own_worker):
    worker = own_worker().start()
    site = new_site(objects=RelayAccess(worker.url, worker.token), d1=None, rest=None)

    def dies(database):
        leaves_a_table(database)
        worker.kill()

    site.databases[0]._options["timeout"] = 1.0
    report = examine(site, probes=[probe_of(dies, on=(OBJECT,))])
    assert not report.ok
    (sentence,) = report.left
    assert f"{PREFIX}{site.token}_* may be left behind" in sentence


# The command.


@pytest.fixture
def command(local_worker):
    """Starts `manage.py relay doctor` in a process of its own."""
    started = []

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "manage.py", "relay", "doctor", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_ends_with_zero_and_its_json_is_one_object_without_a_token(command, local_worker):
    process = command("--json")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    document = json.loads(output)
    assert (document["ok"], document["local"], document["left"]) == (True, True, [])
    assert {entry["status"] for entry in document["probes"]} == {"ok", "skipped", "local only"}
    assert errors == ""
    assert local_worker.token not in output


def test_single_probes_can_be_chosen_and_all_be_listed():
    output = io.StringIO()
    call_command("relay", "doctor", "--only", "floats", "--only", "lease", "--json", stdout=output)
    assert {entry["name"] for entry in json.loads(output.getvalue())["probes"]} == {"floats", "lease"}
    output = io.StringIO()
    call_command("relay", "doctor", "--list", stdout=output)
    assert len(output.getvalue().splitlines()) == len(PROBES)
    with pytest.raises(CommandError, match="probe 'flots' does not exist"):
        call_command("relay", "doctor", "--only", "flots")


def test_a_failed_probe_is_a_command_error(monkeypatch):
    def wrong(database):
        raise Wrong("it was otherwise")

    (floats,) = [probe for probe in PROBES if probe.name == "floats"]
    monkeypatch.setattr("do_bridge.doctor.PROBES", (replace(floats, check=wrong),))
    output = io.StringIO()
    with pytest.raises(CommandError, match="0 ok, 0 skipped, 0 local only, 3 failed"):
        call_command("relay", "doctor", stdout=output)
    assert "What to do: " in output.getvalue()


ONE_LINE = {
    "a dead relay": ({"RELAY_URL": "http://127.0.0.1:9"}, "could not be reached"),
    "a wrong token": ({"RELAY_TOKEN": "wrong-token-" + "w" * 40}, "refused the token"),
    "an address that is none": ({"RELAY_URL": "relay.example"}, "RELAY_URL"),
    "a missing token": ({"RELAY_TOKEN": ""}, "RELAY_TOKEN is not"),
    "a token that no header carries": ({"RELAY_TOKEN": "\u00e9" * 40}, "an HTTP header cannot carry"),
}


@pytest.mark.parametrize("case", ONE_LINE)
def test_what_cannot_work_is_one_line_without_a_traceback(case, command):
    environment, words = ONE_LINE[case]
    process = command(**environment)
    output, errors = process.communicate()
    assert process.returncode != 0
    if case != "a missing token":  # the site's own settings say that
        assert errors.startswith("CommandError: ")
        assert len(errors.splitlines()) == 1
        assert "Traceback" not in errors
    assert words in errors
    assert "w" * 40 not in output + errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_through_its_clean_up(number, command, proxy, local_worker, relay):
    process = command(RELAY_URL=proxy.url, D1_API_BASE="")
    hold_in_the_middle(proxy, process)
    process.send_signal(number)
    proxy.release()
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert "The probes have left nothing behind." in errors
    assert "Traceback" not in errors


def test_a_killed_run_leaves_nothing_in_d1(command, proxy, local_worker, relay):
    process = command(RELAY_URL=proxy.url, D1_API_BASE="")
    hold_in_the_middle(proxy, process)
    process.kill()
    process.communicate()
    proxy.release()
    connection = driver.connect(relay, f"d1:{os.environ['CLOUDFLARE_DATABASE_ID']}")
    assert (
        connection.execute("SELECT name FROM sqlite_master WHERE name GLOB %s", [f"{PREFIX}*"]).fetchall()
        == []
    )


def hold_in_the_middle(proxy, process):
    """Wait until the run has opened some connections, and hold back all answers."""
    while proxy.accepted < 8 and process.poll() is None:
        time.sleep(0.01)
    proxy.stalled = True
    assert process.poll() is None


def test_a_project_with_d1_over_rest_alone_needs_no_relay(local_worker, new_site):
    site = new_site(objects=None, d1=None, rest=RestAccess(local_worker.api_base, D1_ID))
    report = examine(site)
    assert {r.on for r in report.results} == {REST}
    assert failures(report) == []
    assert (report.ok, site.is_local) == (True, True)


def test_a_project_with_d1_alone_examines_d1_and_the_relay(new_site):
    report = examine(new_site(objects=None, rest=None))
    assert {r.on for r in report.results} == {RELAY, D1}
    assert failures(report) == []
    assert report.ok
