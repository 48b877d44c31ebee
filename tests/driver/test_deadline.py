"""How a call's deadline counts time, and how often and when a call is repeated."""

from __future__ import annotations

import math
from unittest.mock import Mock, patch

import pytest

from do_bridge.driver.exceptions import OperationalError
from do_bridge.driver.transport import Deadline, with_retries


def test_a_deadline_does_not_use_up_the_clock_values_that_a_test_prepared_for_its_own_code() -> None:
    with patch("time.monotonic", side_effect=StopIteration) as clock:
        deadline = Deadline(5)
        assert 0 < deadline.remaining() <= 5
    clock.assert_not_called()


def test_a_call_may_be_repeated_more_often_than_a_float_can_be_doubled() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls < 1100:
            raise OperationalError("not now", effect="none", transient=True)

    with patch("time.sleep") as sleep:
        with_retries(call, reads_only=True, deadline=Deadline(1e6), attempts=math.inf)
    assert max(pause for (pause,), _ in sleep.call_args_list) <= 2


def test_what_may_be_repeated_at_once_is_repeated_with_pauses_when_that_does_not_help() -> None:
    failing = Mock(side_effect=OperationalError("gone", effect="none", transient=True, retry_after=0.0))
    with patch("time.sleep") as sleep, pytest.raises(OperationalError, match="gone"):
        with_retries(failing, reads_only=True, deadline=Deadline(10))
    pauses = [pause for (pause,), _ in sleep.call_args_list]
    assert pauses[0] == 0
    assert all(pause > 0 for pause in pauses[1:])
