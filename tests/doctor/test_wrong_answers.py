"""No probe is one that cannot fail: each is given wrong answers, which only a fake can give."""

from dataclasses import replace

import pytest

from do_bridge.doctor import PROBES
from do_bridge.doctor.probe import D1, OBJECT, RELAY, REST, Probe, Skip, Wrong
from do_bridge.doctor.relay import Relay, Terms
from do_bridge.doctor.site import RelayAccess
from do_bridge.doctor.web import Reply
from do_bridge.driver import Error, OperationalError
from do_bridge.driver.transport import Answer
from tests.doctor import fakes

#: The probes that ask nothing: they look at a setting.
ASKS_NOTHING = {"encrypted"}
#: Skipped with one token, or on a relay of any jurisdiction: tests of their own give them what they need.
NEEDS_MORE = {"token-scope", "jurisdiction-alone"}
#: By these calls a value is measured, and a fault is the end of the measurement.
MEASURES_FROM = {"answer-in-error": 2, "optimistic-size": 4}
#: Large, and the same on D1 over the relay and over REST.
ONCE = {("optimistic-size", REST)}
#: What the local runtime itself answers wrongly, so that they fail without a fake.
FAIL_LOCALLY = {(probe.name, kind) for probe in PROBES for kind in probe.local}


def cases():
    for probe in PROBES:
        for kind in probe.on:
            if probe.name not in ASKS_NOTHING | NEEDS_MORE and (probe.name, kind) not in FAIL_LOCALLY | ONCE:
                yield pytest.param(probe, kind, id=f"{probe.name}-{kind}")


def subject_of(site, kind):
    (found,) = [subject for name, subject in site.everything() if name == kind]
    return found


def fails(probe: Probe, subject) -> bool:
    try:
        probe.check(subject)
    except (Wrong, Error):
        return True
    except Skip:
        raise AssertionError(f"{probe.name} was skipped") from None
    except Exception:  # noqa: BLE001 - the runner reports it as a failure, too.
        return True
    finally:
        if hasattr(subject, "reset"):
            subject.reset()
    return False


def ends_a_transaction(call) -> bool:
    """A rollback that gets no answer is one all the same: the server does it by itself."""
    what, _ = call
    return any("rollback" in step for step in what.get("steps", ()) if isinstance(step, dict))


@pytest.mark.parametrize(("probe", "kind"), list(cases()))
def test_a_fake_answer_fails_the_probe(probe, kind, connected, fake):
    """Wrong values, lost rows, wrong counts, an accepted refusal, another status: one is noticed."""
    subject = subject_of(connected, kind)
    fake.begin()
    assert not fails(probe, subject), "with the real answers it passes"
    changes = (
        [other_status, other_terms]
        if kind == RELAY
        else [fakes.other_values, fakes.no_rows, fakes.other_columns, fakes.other_counts, fakes.accepted]
    )
    noticed = []
    for change in changes:
        fake.begin(change=change)
        noticed.append(fails(probe, subject))
        fake.begin()
    assert any(noticed)


def calls_of(probe, subject, fake):
    """Return the calls of a probe that succeeds."""
    fake.begin()
    probe.check(subject)
    calls = list(fake.calls)
    fake.begin()
    if hasattr(subject, "reset"):
        subject.reset()
    return calls


@pytest.mark.parametrize(("probe", "kind"), list(cases()))
def test_a_fake_fault_in_any_call_fails_the_probe(probe, kind, connected, fake):
    subject = subject_of(connected, kind)
    # A session that has run out is replaced by one more call, in one of the two.
    calls = min((calls_of(probe, subject, fake) for _ in range(2)), key=len)
    # Of a probe that repeats itself the first calls and the last one.
    for number in sorted({*range(min(len(calls), 12)), len(calls) - 1}):
        if ends_a_transaction(calls[number]) or number >= MEASURES_FROM.get(probe.name, len(calls)):
            continue
        fake.fail(number)
        failed = fails(probe, subject)
        fake.begin()
        assert failed, f"call {number} of {len(calls)}"


def other_status(outcome):
    if isinstance(outcome, Reply):
        return replace(outcome, status=418, body=None)
    if isinstance(outcome, Error):
        return OperationalError(str(outcome), http_status=500)
    return outcome


def other_terms(outcome):
    return Terms(False, 1, 0, 0) if isinstance(outcome, Terms) else outcome


# Answers that a changed platform would give: each by the probe that has to notice it.


def rounded(outcome):
    """Integers as JavaScript would bring them, rounded to 53 bits."""
    if not isinstance(outcome, list):
        return outcome
    return [
        replace(answer, rows=[[round_to_double(value) for value in row] for row in answer.rows])
        for answer in outcome
    ]


def round_to_double(value):
    if isinstance(value, str) and value.lstrip("i-").isdecimal():
        prefix = "i" if value.startswith("i") else ""
        return prefix + str(int(float(value.removeprefix("i"))))
    return int(float(value)) if isinstance(value, int) else value


def merged(outcome):
    """Columns of one name merged, as rows that are objects have them."""
    return [replace(answer, columns=["a", "b"], rows=[[3, 2]]) for answer in outcome]


def trigger_rows_counted(outcome):
    return [replace(a, changes=a.changes * 3 if a.changes else a.changes) for a in outcome]


def cut_message(outcome):
    if not isinstance(outcome, Error) or len(str(outcome)) < 300:
        return outcome
    return OperationalError(str(outcome)[:300], kind="sql", sqlite_code="SQLITE_ERROR", effect="none")


def cut_to_nothing(outcome):
    if not isinstance(outcome, Error):
        return outcome
    return OperationalError(str(outcome)[:40], kind="sql", sqlite_code="SQLITE_ERROR", effect="none")


def without_code(outcome):
    return (
        OperationalError(str(outcome), kind="sql", effect="none") if isinstance(outcome, Error) else outcome
    )


def breaks_off(outcome):
    """The limit does not refuse, the runtime ends."""
    return (
        OperationalError("reset", kind="reset", effect="unknown") if isinstance(outcome, Error) else outcome
    )


def half_there(outcome):
    """A row where nothing should be."""
    if not isinstance(outcome, list):
        return outcome
    return [replace(a, rows=[["half"]]) if a.rows == [[None]] else a for a in outcome]


CHANGED_PLATFORM = [
    ("integer-parameters", OBJECT, rounded),
    ("integer-results", D1, rounded),
    ("columns-of-one-name", D1, merged),
    ("changes", D1, trigger_rows_counted),
    ("answer-in-error", D1, cut_message),
    ("answer-in-error", REST, cut_to_nothing),
    ("constraint-codes", OBJECT, without_code),
    ("foreign-keys-immediate", D1, without_code),
    ("columns", OBJECT, breaks_off),
    ("union-terms", REST, breaks_off),
    ("like-pattern", D1, breaks_off),
    ("lease", OBJECT, half_there),
    ("lost-client", OBJECT, half_there),
    ("batch-atomic", REST, fakes.other_values),
    ("write-once", OBJECT, fakes.no_rows),
]


@pytest.mark.parametrize(("name", "kind", "change"), CHANGED_PLATFORM)
def test_a_fake_of_a_changed_platform_fails_its_probe(name, kind, change, connected, fake):
    (probe,) = [probe for probe in PROBES if probe.name == name]
    subject = subject_of(connected, kind)
    fake.begin(change=change)
    failed = fails(probe, subject)
    fake.begin()
    assert failed


def test_an_error_that_is_cut_is_measured_and_fails_only_below_a_thousand_characters(connected, fake):
    (probe,) = [probe for probe in PROBES if probe.name == "answer-in-error"]
    subject = subject_of(connected, D1)

    def cut(outcome):
        # A session that has reached its limit is opened again, as always.
        if not isinstance(outcome, Error) or outcome.kind != "sql":
            return outcome
        return OperationalError(str(outcome)[:50_000], kind="sql", effect="none")

    fake.begin(change=cut)
    measured = probe.check(subject)
    fake.begin()
    assert measured == {"error messages whole up to (characters)": 10_000}


def test_plain_http_to_another_machine_fails_and_to_this_one_does_not():
    (probe,) = [probe for probe in PROBES if probe.name == "encrypted"]
    for url in ("https://relay.example", "wss://relay.example", "http://127.0.0.1:8787", "http://localhost"):
        probe.check(Relay(url, {OBJECT: "t" * 32}))
    with pytest.raises(Wrong, match="unencrypted to http://relay.example"):
        probe.check(Relay("http://user:secret@relay.example", {OBJECT: "t" * 32}))


@pytest.fixture
def scoped(own_worker, new_site):
    """A Site on a Worker that has a token for each kind of database."""
    tokens = {"RELAY_TOKEN_TENANTS": "t" * 40, "RELAY_TOKEN_DIRECTORY": "d" * 40}
    worker = own_worker(tokens=tokens).start()
    ways = {
        "objects": RelayAccess(worker.url, "t" * 40),
        "d1": RelayAccess(worker.url, "d" * 40, "d0b41d9e-0000-4000-8000-000000000000"),
    }
    return new_site(**ways, rest=None)


def test_tokens_of_one_kind_each_are_tried_on_the_other_kind(scoped, fake):
    (probe,) = [probe for probe in PROBES if probe.name == "token-scope"]
    scoped.connect()
    for kind in (OBJECT, D1):
        assert probe.check(subject_of(scoped, kind)) is None
        fake.begin(change=fakes.accepted)
        assert fails(probe, subject_of(scoped, kind))
        fake.begin(change=lambda _: [Answer(["a"], [[1]])])
        assert fails(probe, subject_of(scoped, kind))
        fake.begin()
