"""The tables of measurements in the documentation, and the arithmetic behind the prices."""

from pathlib import Path

import pytest

from benchmarks import docs, prices

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", docs.PAGES)
def test_a_page_shows_the_results_that_are_committed(name):
    page = (ROOT / name).read_text()
    assert "<!-- results: " in page
    assert docs.filled(page) == page, "run python -m benchmarks.docs"


@pytest.mark.parametrize(
    ("name", "table"), [("prices.md", prices.prices_table), ("sites.md", prices.sites_table)]
)
def test_what_is_reckoned_on_paper_is_what_the_code_reckons(name, table):
    assert (ROOT / "benchmarks/results" / name).read_text().rstrip() == table()


def test_a_million_reads_by_key_cost_the_call_the_wait_and_the_cpu():
    call, awake, cpu, row = 0.15, (0.005 + 0.05) * 0.125 * 12.5, 0.02, 0.001
    assert prices.on_object(1, 1, 0) == pytest.approx(call + awake + cpu + row)
    assert prices.on_d1(1, 1, 0) == pytest.approx(cpu + row)


def test_nothing_is_charged_for_what_a_month_includes():
    calls = prices.PRICES["calls"]
    assert calls.of(1e6) == 0
    assert calls.of(3e6) == pytest.approx(0.30)
