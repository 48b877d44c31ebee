"""Import posts from JSON Lines, all or none."""

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
BATCH = 50  # posts in one statement; small, so that the progress bar moves


class BadLine(Exception):
    """A line of the file is not a valid post; the message names its number."""

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
    """Return the Records of an iterable of lines (bytes).

    Empty lines are skipped. Raises BadLine.
    """
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
            raise BadLine(number, f"“{name}” is missing, empty or not a string")
        if not is_storable(data[name]):
            raise BadLine(number, f"“{name}” has a lone surrogate or a NUL character")
    record = Record(data["title"], data["content"], data["author"], _moment(number, data.get("published_at")))
    for name, field, value in (("title", TITLE, record.title), ("author", NAME, record.author)):
        try:
            field.clean(value, None)
        except ValidationError as exc:
            raise BadLine(number, f"“{name}”: {' '.join(exc.messages)}") from exc
    return record


def _moment(number, text):
    """Return an aware datetime for an ISO 8601 text, or None for null.

    A text without a time zone is in the site's time zone.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as exc:
        raise BadLine(number, "“published_at” is neither null nor an ISO 8601 date") from exc
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise BadLine(number, "“published_at” is out of range") from exc


def users_for(authors):
    """Return {author: user of D1}, looked up by username, then by name.

    Creates missing ones as inactive. New users stay in D1 even if the import fails, and the next import finds
    them.
    """
    candidates = list(User.objects.filter(Q(username__in=authors) | Q(name__in=authors)).order_by("-pk"))
    # If several users share a name, the oldest is used. A matching username takes precedence over a name.
    found = {user.name: user for user in candidates if user.name in authors}
    found |= {user.username: user for user in candidates if user.username in authors}
    for author in sorted(authors - found.keys()):
        found[author] = _new_author(author)
    return found


def _new_author(author):
    """Create an inactive user in D1 with this name."""
    user = User(name=author, is_active=False)
    user.set_unusable_password()
    # A username can't have spaces, so it is made of the allowed letters and a random suffix.
    user.username = f"{slugify(author)[:100] or 'author'}-{secrets.token_hex(4)}"
    user.save(force_insert=True)
    return user


def write_posts(records, alias, *, done=None):
    """Write all records and their authors' copies to `alias` in one transaction.

    Returns their number. `done` is called with the number of posts just written. Raises Django's database
    errors; then nothing is written.
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
