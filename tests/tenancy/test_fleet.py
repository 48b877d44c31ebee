"""Working through many tenants: Ctrl-C once lets those end that have begun, twice ends the run."""

import os
import signal
import threading

import pytest

from do_bridge.tenancy.migrate.fleet import PIECE, Fleet, Outcome

SLUGS = [f"fleet-{number}" for number in range(2 * PIECE)]


def test_the_first_ctrl_c_lets_those_end_that_have_begun_and_touches_no_other():
    begun, told = threading.Barrier(3, timeout=20), []

    def work(slug):
        begun.wait()
        # In the main thread, which waits for the workers.
        if slug == SLUGS[0]:
            os.kill(os.getpid(), signal.SIGINT)
        assert fleet._stop.wait(20)
        return Outcome(slug)

    fleet = Fleet(work, after=lambda done, untouched: told.append((len(done), len(untouched))), jobs=3)
    outcomes = fleet.run(SLUGS)
    assert fleet.interrupted
    assert {outcome.slug for outcome in outcomes} == set(SLUGS[:3])
    assert told == [(3, PIECE - 3)]


def test_the_second_ctrl_c_ends_the_run_without_a_word_to_the_ledger():
    told = []

    def work(slug):
        os.kill(os.getpid(), signal.SIGINT)
        assert fleet._stop.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        return Outcome(slug)

    fleet = Fleet(work, after=lambda done, untouched: told.append(done), jobs=1)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fleet.run(SLUGS)
    # What was begun stays "migrating", and is looked at by the next run.
    assert told == []
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_fails_is_told_and_the_others_go_on():
    def work(slug):
        if slug == SLUGS[1]:
            raise ValueError("no such luck")
        return Outcome(slug)

    outcomes = Fleet(work, jobs=4).run(SLUGS[:70])
    assert {outcome.slug: outcome.error for outcome in outcomes if outcome.failed} == {
        SLUGS[1]: "ValueError: no such luck"
    }
    assert len(outcomes) == 70
