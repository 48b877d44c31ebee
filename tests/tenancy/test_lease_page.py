"""A view whose transaction outlives its lease is answered with a page that says what helps."""

import pytest
from django.db import connections, transaction
from django.test import RequestFactory

from blog.models import Post
from do_bridge import driver
from do_bridge.tenancy import current, tenant_alias
from do_bridge.tenancy.middleware import TenantMiddleware, lease_ended


def write(title, key):
    """Write a row, and return once the object has ended the transaction by its lease."""
    Post.objects.create(title=title, content="-", user_id=key)
    own = connections[current().alias].connection
    with driver.connect(own.transport, own.database) as other:
        # Served only once the transaction before it has ended.
        other.execute("SELECT 1 FROM accounts_user LIMIT 1")


def all_or_nothing(key):
    with transaction.atomic():
        write("one", key)
        write("two", key)


def row_by_row(key):
    """As django-import-export does: a savepoint for each row, whose errors are kept for later."""
    errors = []
    with transaction.atomic():
        for title in ("one", "two", "three"):
            try:
                with transaction.atomic():
                    write(title, key)
            except Exception as error:
                errors.append(error)
        assert errors
        Post.objects.count()


@pytest.mark.parametrize("work", [all_or_nothing, row_by_row])
def test_a_transaction_that_outlives_its_lease_ends_with_a_page_of_words(acme, in_both, work, caplog):
    alias = tenant_alias(acme.slug)
    caught = []

    def view(request):
        connections[alias].ensure_connection()
        connections[alias].connection.lease = 0.2
        try:
            work(in_both)
        except Exception as error:
            caught.append(error)
            # Django calls it so for what a view raises.
            return middleware.process_exception(request, error)

    middleware = TenantMiddleware(view)
    request = RequestFactory().get(f"/t/{acme.slug}/import/")
    try:
        page = middleware(request)
    finally:
        connections[alias].close()
    assert page.status_code == 503
    assert "split the file, or select fewer" in page.content.decode()
    assert "raise OPTIONS['lease']" in caplog.text
    assert lease_ended(caught[0])
    assert not Post.objects.using(alias).exists()


def test_other_errors_are_none_of_a_lease():
    middleware = TenantMiddleware(lambda request: None)
    error = ValueError("mine")
    error.__context__ = KeyError("before")
    assert middleware.process_exception(RequestFactory().get("/"), error) is None
