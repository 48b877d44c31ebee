"""How a call's deadline counts time."""

from __future__ import annotations

from unittest.mock import patch

from do_bridge.driver.transport import Deadline


def test_a_deadline_does_not_use_up_the_clock_values_that_a_test_prepared_for_its_own_code() -> None:
    with patch("time.monotonic", side_effect=StopIteration) as clock:
        deadline = Deadline(5)
        assert 0 < deadline.remaining() <= 5
    clock.assert_not_called()
