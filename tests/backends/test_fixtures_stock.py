"""loaddata on each engine leaves what it leaves on Django's own sqlite3 engine."""

import os

import pytest
from fixture_files import Shapes, contents, load, make_tables, record, stock_sqlite3, write

ENGINES_BY_DAY = ("d1", "durable_object")

# `make long` takes more.
SEEDS = range(int(os.environ.get("FIXTURE_SEEDS", "3")))


@pytest.fixture
def both(engine, settings, tmp_path):
    """Both databases with the depot's tables; their aliases."""
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    with stock_sqlite3(tmp_path / "stock.sqlite3") as stock:
        make_tables(engine)
        make_tables(stock)
        yield engine.alias, "stock"


def compare(both, path, **options):
    """Load a fixture into both, and compare everything; return what the engine's said and raised."""
    ours, theirs = (load(alias, path, **options) for alias in both)
    assert ours[0] == theirs[0]
    mine, stock = map(contents, both)
    for label, rows in stock.items():
        assert mine[label] == rows, label
    assert bool(ours[1]) == bool(theirs[1]), (ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_random_fixtures(both, seed, tmp_path):
    shapes = Shapes(seed)
    for number in range(2):
        compare(both, write(tmp_path / f"{number}.json", shapes.fixture()))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_fixtures_of_natural_keys(both, seed, tmp_path):
    shapes = Shapes(seed)
    for number in range(2):
        compare(both, write(tmp_path / f"{number}.json", shapes.natural()))


def test_links_through_a_model(both, tmp_path):
    people = [record("person", key, name=f"p{key}") for key in range(1, 5)]
    for members in ([1, 2, 3], [2, 4], []):
        club = record("club", 1, name="c", members=members)
        compare(both, write(tmp_path / "club.json", [club, *people]))


@pytest.mark.parametrize("seed", range(2))
def test_fixtures_whose_rows_need_several_parameters(both, seed, tmp_path, monkeypatch):
    monkeypatch.setattr("do_bridge.backends.remote_sqlite.queries.json_rows.PIECE_BYTES", 300)
    shapes = Shapes(seed)
    for number in range(2):
        compare(both, write(tmp_path / f"{number}.json", shapes.fixture()))
        compare(both, write(tmp_path / f"{number}.json", shapes.natural()))


def test_a_failing_fixture_has_stock_djangos_words(both, tmp_path):
    records = [record("article", key, title="t", number=number) for key, number in ((1, 1), (2, 2), (3, 1))]
    ours, theirs = compare(both, write(tmp_path / "a.json", records))
    assert ours[1] == theirs[1]
    assert "Could not load depot.Article(pk=3): UNIQUE constraint failed: depot_article.number" in ours[1]
