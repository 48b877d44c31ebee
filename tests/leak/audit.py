"""The last look: every row of every object, and D1's, belongs to whose database it is in."""

from __future__ import annotations

from pathlib import Path

from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connections

from accounts.models import Membership, User
from blog.models import Post
from do_bridge.contrib.sessions.models import Session
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.lease import leases
from tests.leak.actor import LIVES, SEEDS, Cast
from tests.leak.journals import Journal, judge
from tests.leak.lives import SLUGS
from tests.leak.marks import MixUp, check, owners, require
from tests.leak.shopping import seeds
from tests.tenancy.moves import places_with_tables


def audit(cast: Cast) -> tuple[int, list[str]]:
    """Return how many rows were looked at, and what is wrong with them."""
    rows, wrong = 0, []
    for slug in cast.slugs:
        for look in (_posts, _log, _users, seeds.in_tenant):
            try:
                rows += look(cast, slug)
            except MixUp as error:
                wrong.append(f"{slug}: {error}")
        if slug in cast.moved:
            wrong += _left(slug)
        connections[tenant_alias(slug)].close()
    try:
        rows += _directory(cast)
        seeds.in_directory()
    except MixUp as error:
        wrong.append(f"D1: {error}")
    return rows, wrong


def audit_lives(folder: Path) -> tuple[int, list[str]]:
    """Return how many looks were taken into the tenants with several lives, and what was wrong with them.

    The last looks are taken here, at the objects of each place: only the tenant's own may hold anything.
    """
    journal, wrong = Journal(folder, "audit"), []
    for slug in SLUGS:
        try:
            with journal.looking(slug, "last look") as titles:
                titles += Post.objects.using(tenant_alias(slug)).values_list("title", flat=True)
        except DatabaseError as error:
            wrong.append(f"{slug}: {error}")
        wrong += _left(slug)
    journal.close()
    looks, mixed = judge(folder, SLUGS)
    return looks, wrong + mixed


def _left(slug: str) -> list[str]:
    """Return what is wrong with the places where a tenant has tables."""
    row, places = leases.look(slug), places_with_tables(slug)
    if places == [row.jurisdiction] and row.left_behind is None:
        return []
    return [f"{slug}: is in {row.jurisdiction!r}, has left {row.left_behind!r}, and has tables in {places}"]


def _posts(cast: Cast, slug: str) -> int:
    posts = Post.objects.using(tenant_alias(slug)).order_by("pk")
    found = list(posts.values_list("pk", "title", "content", "user_id"))
    for _, title, content, user_id in found:
        check(slug, title, content)
        require(slug, user_id in (cast.several, cast.own[slug]), "a stranger has written a post")
    require(slug, [row[0] for row in found[:SEEDS]] == list(range(1, SEEDS + 1)), "first posts are missing")
    return len(found)


def _log(cast: Cast, slug: str) -> int:
    entries = LogEntry.objects.using(tenant_alias(slug)).values_list("object_repr", flat=True)
    check(slug, *entries)
    return len(entries)


def _users(cast: Cast, slug: str) -> int:
    users = list(User.objects.using(tenant_alias(slug)).values_list("pk", "username", "name"))
    for _, username, name in users:
        known = {f"own-{slug}", "several", "root"}
        require(slug, username in known, f"holds a copy of {username}")
        require(slug, owners(name) <= {slug}, "holds a copy of a stranger")
    require(slug, {cast.several, cast.own[slug]} <= {user[0] for user in users}, "lacks a member")
    return len(users)


def _directory(cast: Cast) -> int:
    """D1 has nobody's posts and log; a session belongs to one person."""
    require("D1", not Post.objects.using("default").exists(), "has a tenant's post")
    require("D1", not LogEntry.objects.using("default").exists(), "has an entry of a tenant's log")
    memberships = Membership.objects.exclude(tenant__slug__startswith=LIVES)
    places = list(memberships.values_list("tenant__slug", "user_id"))
    for slug, user_id in places:
        require(slug, user_id in (cast.several, cast.own[slug]), "has a stranger as its member")
    require("D1", len(places) == 2 * len(cast.own), "has other memberships than were made")
    sessions = [session.get_decoded() for session in Session.objects.all()]
    for session in sessions:
        for name, value in session.items():
            if name.startswith("note-"):
                check(name.removeprefix("note-"), value)
    return len(places) + len(sessions)
