"""A request that ends too early does nothing, whatever of it has come."""

import io
from contextlib import closing

import pytest
from django.test import RequestFactory
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from blog.models import Post
from project.wsgi import application

FIELDS = {"title": "A title", "content": "A text that goes on and on. " * 40}
PATH = "/t/acme/posts/new/"
URLENCODED = "application/x-www-form-urlencoded"


@pytest.fixture
def send(sign_in):
    """Sends bo's new post through the WSGI application, all but its last bytes; returns the status."""
    client = sign_in("bo")
    client.get(PATH)

    def send(content_type, cut):
        fields = {"csrfmiddlewaretoken": client.cookies["csrftoken"].value, **FIELDS}
        if content_type == URLENCODED:
            body = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in fields.items()).encode()
        else:
            body = encode_multipart(BOUNDARY, fields)
        environ = RequestFactory().generic("POST", PATH, body, content_type).environ
        environ["HTTP_COOKIE"] = "; ".join(
            f"{name}={morsel.value}" for name, morsel in client.cookies.items()
        )
        environ["wsgi.input"] = io.BytesIO(body[: len(body) - cut])
        statuses = []
        # A server closes the response, which ends the request for Django, too.
        with closing(application(environ, lambda status, headers, *args: statuses.append(status))) as answer:
            b"".join(answer)
        return int(statuses[0][:3])

    return send


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART_CONTENT])
@pytest.mark.parametrize("cut", [1, 500, 1000])
def test_a_form_that_was_cut_is_not_saved(send, content_type, cut):
    assert send(content_type, cut) == 403
    assert not Post.objects.using("tenant/acme").exists()


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART_CONTENT])
def test_a_whole_form_is_saved(send, content_type):
    assert send(content_type, 0) == 302
    assert Post.objects.using("tenant/acme").get().content == FIELDS["content"].strip()
