"""`import_posts`: all of a file's posts, or none."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import User
from blog.importing import BadLine, read_line
from blog.models import Post
from do_bridge import driver
from do_bridge.driver.transports.relay_session import RelaySession

ACME = "tenant/acme"


def record(number, **fields):
    return {
        "title": f"Post {number}",
        "content": f"Text {number}. " * 2000,
        "author": "press office",
        "published_at": f"2026-01-{number % 28 + 1:02}T12:00:00Z" if number % 3 else None,
        **fields,
    }


@pytest.fixture
def lines():
    """250 lines of 25 kB each, enough for several statements."""
    return [json.dumps(record(number)) for number in range(1, 251)]


@pytest.fixture
def import_lines(site, tmp_path):
    """Writes lines into a file and imports it into acme; returns what the command printed."""

    def run(lines):
        path = tmp_path / "posts.jsonl"
        path.write_text("\n".join(lines) + "\n")
        output = io.StringIO()
        call_command("import_posts", str(path), tenant="acme", stdout=output)
        return output.getvalue()

    return run


def test_every_line_becomes_a_post_readable_page_by_page(import_lines, lines, client):
    assert import_lines(lines) == "250 posts imported into acme.\n"
    posts = Post.objects.using(ACME)
    assert posts.count() == 250
    assert posts.get(title="Post 4").content == "Text 4. " * 2000
    assert posts.get(title="Post 4").published_at.isoformat() == "2026-01-05T12:00:00+00:00"
    assert posts.filter(published_at=None).count() == 83
    titles = {
        post.title
        for page in range(1, 26)
        for post in client.get("/t/acme/", {"page": page}).context["posts"]
    }
    assert titles == {f"Post {number}" for number in range(1, 251)}


def test_a_broken_line_is_named_by_its_number_and_nothing_is_imported(import_lines, lines):
    lines[199] = lines[199][:-10]
    with pytest.raises(CommandError, match="line 200: this is not JSON. Nothing was imported."):
        import_lines(lines)
    assert not Post.objects.using(ACME).exists()
    assert not User.objects.filter(name="press office").exists()


def test_what_the_database_refuses_halfway_leaves_no_post_behind(import_lines, lines):
    with connections[ACME].cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON blog_post WHEN NEW.title = 'Post 200' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        try:
            with pytest.raises(CommandError, match="Nothing was imported: .*not this one"):
                import_lines(lines)
        finally:
            cursor.execute("DROP TRIGGER refuse")
    assert not Post.objects.using(ACME).exists()


def test_an_import_whose_commit_may_have_been_carried_out_is_not_told_to_be_none(
    import_lines, lines, monkeypatch
):
    ask = RelaySession.request

    def lose(session, message, deadline):
        if cut:
            raise driver.OperationalError("no network", effect="none", transient=True)
        answers = ask(session, message, deadline)
        if any("commit" in step for step in message.get("steps", ())):
            cut.append(session.abort())
            raise driver.OperationalError("cut", effect="unknown", transient=True)
        return answers

    cut = []
    monkeypatch.setitem(connections[ACME].settings_dict["OPTIONS"], "timeout", 2)
    monkeypatch.setattr(RelaySession, "request", lose)
    connections[ACME].close()
    with pytest.raises(CommandError, match="^Check whether the posts were imported: "):
        import_lines(lines[:3])
    monkeypatch.undo()
    connections[ACME].close()
    assert Post.objects.using(ACME).count() == 3


def test_an_unknown_author_becomes_a_user_who_cannot_sign_in_once_for_all_imports(import_lines, lines):
    import_lines(lines[:2])
    import_lines(lines[2:4])
    author = User.objects.get(name="press office")
    assert not author.is_active
    assert not author.has_usable_password()
    assert Post.objects.using(ACME).filter(user_id=author.pk).count() == 4


def test_a_known_author_is_found_by_username_or_name(site, import_lines):
    import_lines([json.dumps(record(1, author="bo")), json.dumps(record(2, author="Ada"))])
    authors = list(Post.objects.using(ACME).order_by("title").values_list("user_id", flat=True))
    assert authors == [site.bo.pk, site.ada.pk]
    assert User.objects.using(ACME).get(pk=site.bo.pk).is_active


def test_an_author_who_is_no_member_has_an_inactive_copy_there(site, import_lines):
    import_lines([json.dumps(record(1, author="gil"))])
    assert User.objects.using(ACME).get(pk=site.gil.pk).is_active is False
    assert User.objects.get(pk=site.gil.pk).is_active


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (json.dumps(record(1, title=" ")).encode(), "title"),
        (json.dumps(record(1, title="x" * 201)).encode(), "at most 200 characters"),
        (json.dumps(record(1, content=5)).encode(), "content"),
        (json.dumps(record(1, author=None)).encode(), "author"),
        (json.dumps(record(1, title="half \ud800")).encode(), "title.*surrogate"),
        (json.dumps(record(1, content="a\0b")).encode(), "content.*NUL"),
        (b"[" * 100_000, "nested too deep"),
        (json.dumps(record(1, published_at="yesterday")).encode(), "published_at"),
        (json.dumps(record(1, published_at=5)).encode(), "published_at"),
        (json.dumps(record(1, published_at="0001-01-01T00:00:00+14:00")).encode(), "out of range"),
    ],
)
def test_a_line_that_cannot_be_a_post_says_why(line, reason):
    with pytest.raises(BadLine, match=f"line 7: .*{reason}"):
        read_line(7, line)


def test_a_tenant_or_a_file_that_is_not_there_is_named(site, tmp_path):
    with pytest.raises(CommandError, match="'nobody'"):
        call_command("import_posts", str(tmp_path / "x"), tenant="nobody")
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_posts", str(tmp_path / "x"), tenant="acme")


def test_no_progress_bar_is_drawn_where_there_is_no_terminal(import_lines, lines, capsys):
    import_lines(lines[:3])
    assert capsys.readouterr().err == ""
