"""prefetch(): the relations of one level in one round trip, with the rows of Django's own prefetch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.models import Prefetch, prefetch_related_objects
from shelf import Author, Book, stock_tables, tables

import do_bridge
from do_bridge import driver

ENGINES_BY_DAY = ("d1", "durable_object")


@pytest.fixture
def articles(engine: Any, depot: Any, settings: Any) -> Iterator[Any]:
    """Two articles with an author who has a boss, two tags, and a line each."""
    boss = depot.Author.objects.using(engine.alias).create(name="boss")
    author = depot.Author.objects.using(engine.alias).create(name="author", boss=boss)
    tags = [depot.Tag.objects.using(engine.alias).create(name=name) for name in ("one", "two")]
    for number in range(2):
        article = depot.Article.objects.using(engine.alias).create(author=author, title=f"{number}")
        article.tags.set(tags)
        depot.Line.objects.using(engine.alias).create(article=article)
    return depot.Article.objects.using(engine.alias).order_by("pk")


def trips_of(work: Any) -> tuple[int, Any]:
    with driver.count_trips() as trips:
        value = work()
    return trips.count, value


def shown(rows: list[Any]) -> list[Any]:
    return [
        (
            row.title,
            row.author.name,
            row.author.boss.name,
            sorted(tag.name for tag in row.tags.all()),
            sorted(len(tag.article_set.all()) for tag in row.tags.all()),
            len(row.line_set.all()),
            [other.title for other in row.author.article_set.all()],
        )
        for row in rows
    ]


LOOKUPS = ["author__boss", "author__article_set", "tags__article_set", "line_set"]


def test_lookups_of_two_levels_take_two_trips(articles: Any) -> None:
    rows = list(articles)
    trips, _ = trips_of(lambda: do_bridge.prefetch(rows, *LOOKUPS))
    assert trips == 2
    expected = list(articles)
    prefetch_related_objects(expected, *LOOKUPS)
    trips, got = trips_of(lambda: shown(rows))
    assert (trips, got) == (0, shown(expected))


def test_a_querysets_own_lookups_are_followed_too(articles: Any, depot: Any) -> None:
    rows = list(articles)
    tags = depot.Tag.objects.using(articles.db).prefetch_related("article_set")
    trips, _ = trips_of(lambda: do_bridge.prefetch(rows, Prefetch("tags", tags), "author", "line_set"))
    assert trips == 2
    assert trips_of(lambda: [len(tag.article_set.all()) for row in rows for tag in row.tags.all()])[0] == 0


def test_one_lookup_is_left_to_django(articles: Any) -> None:
    rows = list(articles)
    assert trips_of(lambda: do_bridge.prefetch(rows, "tags"))[0] == 1


def test_what_has_been_fetched_is_not_fetched_again(articles: Any) -> None:
    rows = list(articles.select_related("author").prefetch_related("tags"))
    assert trips_of(lambda: do_bridge.prefetch(rows, "author", "tags", "line_set"))[0] == 1


def test_a_path_through_an_attribute_is_followed(articles: Any) -> None:
    rows = list(articles)
    tags = Prefetch("tags", to_attr="labels")
    assert trips_of(lambda: do_bridge.prefetch(rows, tags, "labels__article_set", "line_set"))[0] == 2
    assert trips_of(lambda: [len(label.article_set.all()) for row in rows for label in row.labels])[0] == 0


@pytest.mark.parametrize("lookups", [["nowhere", "tags"], ["title", "tags"], ["tags__nowhere", "author"]])
def test_a_wrong_lookup_gets_djangos_error(articles: Any, lookups: list[str]) -> None:
    rows = list(articles)
    with pytest.raises((AttributeError, ValueError)) as expected:  # noqa: PT011, PT012 - compared below
        prefetch_related_objects(rows, *lookups)
    with pytest.raises(expected.type, match=str(expected.value)[:30]):
        do_bridge.prefetch(list(articles), *lookups)


def test_a_second_queryset_for_a_relation_is_refused_as_by_django(articles: Any, depot: Any) -> None:
    tags = Prefetch("tags", depot.Tag.objects.using(articles.db).all())
    with pytest.raises(ValueError, match="already seen with a different queryset"):
        do_bridge.prefetch(list(articles), "tags__article_set", tags)


def test_no_rows_and_no_lookups_cost_nothing(articles: Any) -> None:
    rows = list(articles)
    assert trips_of(lambda: (do_bridge.prefetch([], "tags", "author"), do_bridge.prefetch(rows)))[0] == 0


def test_rows_of_another_engine_are_prefetched_by_django(durable_object: Any) -> None:
    with stock_tables() as stock, tables(durable_object) as alias:
        author = Author.objects.using(stock).create(name="x")
        Book.objects.using(stock).create(author=author)
        of_ours = Author.objects.using(alias).create(pk=author.pk, name="ours")
        Book.objects.using(alias).create(author=of_ours)
        rows = list(Author.objects.using(stock))
        here = Prefetch("book_set", Book.objects.using(alias).select_related("author"), to_attr="here")
        do_bridge.prefetch(rows, "book_set__author", here)
        with connections[stock].execute_wrapper(refuse):
            assert [[book.author.name for book in row.book_set.all()] for row in rows] == [["x"]]
            assert [[book.author.name for book in row.here] for row in rows] == [["ours"]]


def refuse(*args: Any) -> None:
    raise AssertionError("a statement was sent")
