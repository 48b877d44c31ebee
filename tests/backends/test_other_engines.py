"""What this package changes in Django's classes leaves an alias of another engine what it was."""

from django.db import connections
from django.db.models import Case, Count, Value, When, deletion, sql
from shelf import Author, Book, stock_tables


def statements_of_work(alias):
    """The statements, with their parameters, of what goes through the changed methods."""
    seen = []

    def note(execute, sql, params, many, context):
        seen.append((sql, params))
        return execute(sql, params, many, context)

    rank = Book._meta.get_field("rank")
    case = Case(When(pk=1, then=Value(4, output_field=rank)), default=Value(1), output_field=rank)
    with connections[alias].execute_wrapper(note):
        author = Author.objects.using(alias).create(name="ann")
        books = Book.objects.using(alias).bulk_create([Book(author=author, rank=n) for n in range(250)])
        for book in books:
            book.rank, book.number = book.rank + 1, 3
        Book.objects.using(alias).bulk_update(books, ["rank", "number"])
        Book.objects.using(alias).filter(author__name="ann").bulk_update(books, ["rank"])
        Book.objects.using(alias).update(rank=case)
        Book.objects.using(alias).annotate(n=Count("author")).update(rank=case)
        assert len(list(Book.objects.using(alias).order_by("rank").iterator(chunk_size=10))) == 250
        author.delete()
    assert not Book.objects.using(alias).exists()
    return seen


def test_djangos_own_sqlite3_gets_the_statements_that_django_makes(django_db_blocker, monkeypatch):
    with django_db_blocker.unblock():
        with stock_tables() as alias:
            beside_us = statements_of_work(alias)
        monkeypatch.setattr(deletion, "sql", sql)
        with stock_tables() as alias:
            alone = statements_of_work(alias)
    assert beside_us == alone
    assert len(beside_us) > 10
