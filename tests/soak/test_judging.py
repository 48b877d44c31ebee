"""What makes a soak fail, planted: an error without a fault, a leak, growth, silence, no recovery."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.leak.pages import Unavailable, WrongStatus
from tests.soak import watch
from tests.soak.book import GRACE, Book, Fault, Request
from tests.soak.load import RecordingBrowser
from tests.soak.report import failures, report
from tests.soak.watch import Sample, Series, Watch

GROWS = """
import time
kept = []
for _ in range(60):
    kept.append(b"x" * 2**20)
    time.sleep(0.03)
"""
ROW = "| {} | {} | {} |"


def steady(memory: float = 100.0) -> Series:
    return Series("gunicorn", 7, [Sample(second, memory, 9, 3, 8) for second in range(30)])


def told(book: Book, series: list[Series] | None = None) -> str:
    """The reasons for a failure, as lines."""
    return "\n".join(failures(book, series or [steady()], 0))


def test_an_error_counts_unless_a_fault_explains_it_and_both_are_in_the_report_by_class():
    book = Book()
    with book.fault("cut") as fault:
        pass
    fault.recovered = 0.2
    late, after = fault.ended + GRACE - 1, fault.ended + GRACE + 1
    book.requests = [
        Request("GET a visitor", late, late + 0.1, "Unavailable", "503"),
        Request("GET a visitor", after, after + 0.1, "ok"),
    ]
    assert told(book) == ""
    assert "# Soak: passed" in report("t", book, [steady()], {}, 0)
    book.requests.append(Request("GET staff", after, after + 0.1, "WrongStatus", "500"))
    assert told(book) == "1 × WrongStatus 500, and no fault explains it"
    text = report("t", book, [steady()], {"D1: django_session": (1, 2)}, 0)
    assert "# Soak: FAILED" in text
    for row in (
        ROW.format("out of faults", 2, 1),
        ROW.format("in faults", 1, 1),
        "| WrongStatus 500 | 1 |",
        "| Unavailable 503 | 1 |",
        ROW.format("D1: django_session", 1, 2),
        "| gunicorn 7 | 29 | 100 → 100, at most 100 |",
    ):
        assert row in text, text


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (lambda book: book.leaks.append("globex's row on acme's page"), "a leak: globex's row"),
        (lambda book: book.stalls.append("the site has not answered"), "a stall: the site has not"),
        (lambda book: book.faults.append(Fault("stall", 0, 1)), "no recovery after stall"),
    ],
    ids=["leak", "stall", "recovery"],
)
def test_a_leak_a_stall_and_a_fault_without_recovery_fail_it(plant, reason):
    book = Book()
    plant(book)
    assert told(book).startswith(reason)
    assert reason in report("t", book, [steady()], {}, 0)


def test_a_page_of_a_wrong_status_is_explained_by_no_fault():
    book = Book()
    with book.fault("cut") as fault:
        book.note("GET staff", fault.began, "WrongStatus", "500")
    fault.recovered = 0.2
    assert told(book) == "1 × WrongStatus 500, and no fault explains it"


def test_a_thread_of_the_soak_that_ends_by_an_error_fails_it():
    book = Book()

    def breaks():
        raise KeyError("a page had no form")

    thread = threading.Thread(target=book.work, args=(breaks,))
    thread.start()
    thread.join()
    assert told(book).startswith("a part of the soak broke: KeyError in breaks(), line ")


@pytest.fixture
def broken_site():
    """A server whose every page is an error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_that_fails_stands_in_the_book(broken_site):
    book = Book()
    with pytest.raises(WrongStatus, match="HTTP 500"):
        RecordingBrowser(broken_site, "", book).get("/t/t001/")
    assert told(book) == "1 × WrongStatus GET /t/t…/ by '': HTTP 500, not 200, and no fault explains it"


def test_a_stream_that_fails_stands_in_the_book_and_may_be_explained_by_a_fault(broken_site):
    quiet, disturbed = Book(), Book()
    with pytest.raises(Unavailable, match="HTTP 500"):
        list(RecordingBrowser(broken_site, "", quiet).lines("/t/t001/"))
    assert told(quiet) == "1 × Unavailable GET /t/t…/ by '': HTTP 500, not 200, and no fault explains it"
    with disturbed.fault("kill_workerd") as fault, pytest.raises(Unavailable, match="HTTP 500"):
        list(RecordingBrowser(broken_site, "", disturbed).lines("/t/t001/"))
    fault.recovered = 0.2
    assert told(disturbed) == ""


def test_a_process_that_really_grows_is_found_and_one_that_keeps_what_it_has_is_not():
    processes = [
        subprocess.Popen([sys.executable, "-c", code]) for code in (GROWS, "import time; time.sleep(60)")
    ]
    over = threading.Event()
    names = dict(zip((process.pid for process in processes), ("grows", "rests"), strict=True))
    watching = Watch(lambda: names, 0.02)
    thread = threading.Thread(target=watching.run, args=(over,))
    thread.start()
    processes[0].wait(60)
    over.set()
    thread.join()
    processes[1].kill()
    processes[1].wait()
    reasons = told(Book(), list(watching.series.values()))
    assert reasons.startswith(f"grows {processes[0].pid} grows by ")
    assert "rests" not in reasons


def test_growth_of_the_runtime_fails_it_and_that_of_wranglers_proxy_before_it_does_not():
    samples = [Sample(second, 100.0 + 5 * second, 9, 3, 8) for second in range(30)]
    assert told(Book(), [Series("workerd", 7, samples)]).startswith("workerd 7 grows by ")
    proxy = Series("wrangler's proxy", 7, samples)
    assert told(Book(), [proxy]) == ""
    assert "| wrangler's own |" in report("t", Book(), [proxy], {}, 0)


def test_a_server_that_is_silent_without_a_fault_is_a_stall_and_one_that_answers_is_none(
    local_worker, monkeypatch
):
    monkeypatch.setattr(watch, "_ANSWER", 0.3)
    book, over = Book(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = {
            "the Worker": f"{local_worker.url}/healthz",
            "nobody": f"http://127.0.0.1:{silent.getsockname()[1]}/",
        }

        def evidence() -> str:
            return watch.evidence({os.getpid(): "pytest"}, lambda: "the end of the log")

        thread = threading.Thread(target=watch.watchdog, args=(urls, evidence, book, over, 0.5))
        thread.start()
        deadline = time.monotonic() + 30
        while not book.stalls and time.monotonic() < deadline:
            time.sleep(0.05)
        over.set()
        thread.join()
    assert book.stalls
    assert all(text.startswith("nobody has not answered for ") for text in book.stalls)
    assert "the end of the log" in book.stalls[0]
    assert f"pytest {os.getpid()}:" in book.stalls[0]
