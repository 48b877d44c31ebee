"""What `make applications` calls a difference, and that its locks and its sites are whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from do_bridge.relay.processes import group_members
from tests.applications import environment, programs, run
from tests.applications.compare import Difference, Known, differences, faults, judge
from tests.applications.known import KNOWN

PAGE = {"who": "visitor", "url": "/", "status": 200, "location": "", "body": "<p>Hello</p>", "error": ""}
ROW = {"model": "shop.item", "pk": 1, "fields": {"name": "a", "moment": "2026-03-02"}}


@pytest.fixture
def played(tmp_path):
    """Returns a function that writes a run's record; its keywords replace parts of one without faults."""

    def write(name, rows=(ROW,), **record):
        folder = tmp_path / name
        folder.mkdir()
        whole = {"pages": [PAGE], "answers": {"n": 1}, "masks": [], "hidden": {}, "at_least": 1}
        (folder / "record.json").write_text(json.dumps(whole | {"broken": "(?!)"} | record))
        (folder / "rows.json").write_text(json.dumps(rows))
        return folder

    return write


@pytest.mark.parametrize(
    ("other", "subject", "shown"),
    [
        ({"pages": []}, "visitor / reached", "only on sqlite3"),
        ({"pages": [PAGE, PAGE | {"url": "/more/"}]}, "visitor /more/ reached", "not on sqlite3"),
        (
            {"pages": [PAGE | {"status": 500, "error": "OperationalError: x"}]},
            "visitor / status",
            "OperationalError",
        ),
        ({"pages": [PAGE | {"location": "/in/"}]}, "visitor / location", "/in/"),
        ({"pages": [PAGE | {"body": "<p>Hullo</p>"}]}, "visitor / body", "Hullo"),
        ({"answers": {"n": 2}}, "answer n", "2"),
        ({"answers": {}}, "answer n", "null"),
        ({"rows": [ROW | {"fields": ROW["fields"] | {"name": "b"}}]}, "rows of shop.item", '"b"'),
        ({"rows": []}, "rows of shop.item", "null"),
    ],
)
def test_whatever_is_not_as_on_sqlite3_is_found_and_shown(played, other, subject, shown):
    (found,) = differences("d1", played("sqlite3"), played("d1", **other))
    assert (found.engine, found.subject) == ("d1", subject)
    assert shown in found.shown


def test_two_runs_that_did_the_same_do_not_differ(played):
    assert differences("d1", played("sqlite3"), played("d1")) == []


@pytest.mark.parametrize(
    "text",
    [
        '<input type="hidden" name="csrfmiddlewaretoken" value="{}">',
        '{{"CSRF_TOKEN": "{}", "n": 1}}',
        '<script data-csrftoken="{}" src="x.js">',
        '<script nonce="{}">',
    ],
)
def test_what_is_drawn_for_each_answer_is_no_difference_and_what_stands_beside_it_is(played, text):
    first = played("sqlite3", pages=[PAGE | {"body": text.format("abc") + "one"}])
    assert differences("d1", first, played("d1", pages=[PAGE | {"body": text.format("xyz") + "one"}])) == []
    assert differences("d1", first, played("d2", pages=[PAGE | {"body": text.format("xyz") + "two"}]))


def test_a_hidden_field_must_still_be_set_on_both(played):
    hidden = {"shop.item": ["moment"]}
    later = ROW | {"fields": ROW["fields"] | {"moment": "2027-01-01"}}
    unset = ROW | {"fields": ROW["fields"] | {"moment": None}}
    first = played("sqlite3", hidden=hidden)
    assert differences("d1", first, played("d1", rows=[later])) == []
    assert differences("d1", first, played("d2", rows=[unset]))


def test_the_order_in_which_a_dump_has_its_rows_is_no_difference(played):
    other = ROW | {"pk": 2}
    assert differences("d1", played("sqlite3", [ROW, other]), played("d1", [other, ROW])) == []


def test_a_known_difference_passes_and_one_that_does_not_appear_any_more_fails():
    found = Difference("d1", "visitor /a/ body", "…")
    known = Known("d1", "visitor /a/ body", "why")
    elsewhere = Known("durable_object", "visitor /a/ body", "why")
    part = Known("d1", "visitor /a/", "why")
    assert judge([found], [known]) == ([], [])
    assert judge([found], [elsewhere]) == ([found], [elsewhere])
    assert judge([found], [part]) == ([found], [part])
    assert judge([], [known]) == ([], [known])


def test_a_run_on_sqlite3_with_few_pages_or_broken_ones_measures_nothing(played):
    broken = PAGE | {"url": "/b/", "status": 500, "error": "KeyError"}
    assert faults(played("a")) == []
    assert faults(played("b", at_least=2)) == ["1 pages of at least 2"]
    assert faults(played("c", pages=[PAGE, broken])) == ["visitor /b/: 500 KeyError"]
    assert faults(played("d", pages=[PAGE, broken], broken="visitor /b/")) == []


def test_every_application_has_a_site_and_a_lock_and_known_differences_name_one_of_them():
    for package in run.APPLICATIONS.values():
        for name in ("settings.py", "site.py", "urls.py", "requirements.txt", "requirements-lock.txt"):
            assert (environment.HERE / package / name).exists(), (package, name)
    assert set(KNOWN) <= set(run.APPLICATIONS)


def test_an_unknown_application_is_refused_with_the_names_of_the_known(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run", "nosuch"])
    with pytest.raises(SystemExit, match="2"):
        run.main()
    assert "nosuch: not known. Known are celery-results, wagtail" in capsys.readouterr().err


def test_an_environment_is_made_from_hashes_and_made_again_if_its_making_was_cut_off(monkeypatch, tmp_path):
    installs = []

    def fake(command, **_):
        if command[1:3] == ["-m", "venv"]:
            Path(command[3]).mkdir(parents=True)
            return
        installs.append(command)
        if len(installs) == 1:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(environment, "STATE", tmp_path)
    monkeypatch.setattr(environment.subprocess, "run", fake)
    with pytest.raises(subprocess.CalledProcessError, match="pip"):
        environment.python_of("wagtail", "site_wagtail")
    for _ in range(2):
        environment.python_of("wagtail", "site_wagtail")
    assert len(installs) == 2
    assert "--require-hashes" in installs[1]
    assert installs[1][-1].endswith("site_wagtail/requirements-lock.txt")


def test_an_application_that_does_not_end_is_ended_with_all_that_it_started(
    monkeypatch, tmp_path, local_worker
):
    script = tmp_path / "play.py"
    script.write_text("import subprocess, time\nsubprocess.Popen(['sleep', '300'])\ntime.sleep(300)\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "SECONDS", 2)
    started, popen = [], subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(programs.subprocess, "Popen", start)
    assert not run.play("wagtail", Path(sys.executable), "d1", tmp_path, local_worker)
    assert not group_members(started[0].pid)


def test_an_application_that_fails_stops_the_run_of_its_site(monkeypatch, tmp_path, local_worker):
    (tmp_path / "play.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert not run.play("wagtail", Path(sys.executable), "d1", tmp_path, local_worker)
