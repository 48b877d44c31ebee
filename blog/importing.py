"""Reads posts from JSON Lines, checks each line, and writes them all or none."""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import User
from accounts.validators import is_storable
from blog.models import Post
from do_bridge.members.copies import write_copies

TITLE = Post._meta.get_field("title")
NAME = User._meta.get_field("name")
BATCH = 50  # posts to a statement: small enough for the progress bar to move


class BadLine(Exception):
    """A line of the file cannot be a post; the message names it by its number."""

    def __init__(self, number, reason):
        super().__init__(f"line {number}: {reason}")
        self.number = number


@dataclass(frozen=True)
class Record:
    """A checked line."""

    title: str
    content: str
    author: str
    published_at: datetime | None


def read_records(lines):
    """Return the Records of an iterable of lines (bytes); empty lines are skipped. Raises BadLine."""
    return [read_line(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def read_line(number, line):
    """Return the Record that `line` (bytes) holds; raises BadLine."""
    try:
        data = json.loads(line.decode())
    except RecursionError as exc:
        raise BadLine(number, "this is nested too deep") from exc
    except UnicodeDecodeError as exc:
        raise BadLine(number, "this is not UTF-8") from exc
    except ValueError as exc:
        raise BadLine(number, "this is not JSON") from exc
    if not isinstance(data, dict):
        raise BadLine(number, "this is not a JSON object")
    for name in ("title", "content", "author"):
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise BadLine(number, f"“{name}” is missing, empty or no text")
        if not is_storable(data[name]):
            raise BadLine(number, f"“{name}” has half a character (a lone surrogate) or a NUL")
    record = Record(data["title"], data["content"], data["author"], _moment(number, data.get("published_at")))
    for name, field, value in (("title", TITLE, record.title), ("author", NAME, record.author)):
        try:
            field.clean(value, None)
        except ValidationError as exc:
            raise BadLine(number, f"“{name}”: {' '.join(exc.messages)}") from exc
    return record


def _moment(number, text):
    """Return an aware datetime of an ISO 8601 text, None for null; without a zone it is the site's own."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as exc:
        raise BadLine(number, "“published_at” is neither null nor a date in ISO 8601") from exc
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise BadLine(number, "“published_at” is out of range") from exc


def users_for(authors):
    """Return {author: user of D1} for each name: by username, then by name, else a new inactive user.

    The new ones stay in D1 whatever becomes of the import, and the next one finds them.
    """
    candidates = list(User.objects.filter(Q(username__in=authors) | Q(name__in=authors)).order_by("-pk"))
    # Of several who share a name the first to come is taken; a username is one person's, and goes before.
    found = {user.name: user for user in candidates if user.name in authors}
    found |= {user.username: user for user in candidates if user.username in authors}
    for author in sorted(authors - found.keys()):
        found[author] = _new_author(author)
    return found


def _new_author(author):
    """Create an inactive user in D1 for a name that nobody has."""
    user = User(name=author, is_active=False)
    user.set_unusable_password()
    # A name with spaces is no username: the letters that can stay, and something that nobody else has.
    user.username = f"{slugify(author)[:100] or 'author'}-{secrets.token_hex(4)}"
    user.save(force_insert=True)
    return user


def write_posts(records, alias, *, done=None):
    """Write all records by `alias` in one transaction, their authors' copies with them; returns how many.

    done: called with the number of posts just written. The database's errors pass through, and nothing stays.
    """
    users = users_for({record.author for record in records})
    posts = [
        Post(
            title=record.title,
            content=record.content,
            user_id=users[record.author].pk,
            published_at=record.published_at,
        )
        for record in records
    ]
    with transaction.atomic(using=alias):
        write_copies({user.pk: user for user in users.values()}.values(), alias, are_members=False)
        for start in range(0, len(posts), BATCH):
            batch = posts[start : start + BATCH]
            Post.objects.using(alias).bulk_create(batch)
            if done is not None:
                done(len(batch))
    return len(posts)
