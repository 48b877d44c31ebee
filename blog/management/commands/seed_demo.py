"""The command seed_demo: create demo tenants, users and posts."""

import os
import secrets
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.models import Membership, Tenant, User
from blog.demo import POSTS, TENANTS, USERS
from blog.models import Post
from do_bridge import tenant_context
from do_bridge.members.syncing import add_member

PASSWORD_FILE = Path("state") / "demo-password"


class Command(BaseCommand):
    help = (
        "Creates demo tenants, users and posts that do not exist yet. The users' password is DEMO_PASSWORD "
        "from the environment, or a random one that is stored in state/demo-password."
    )

    def handle(self, *, verbosity, **_options):
        password, new_password = demo_password()
        users = make_users(password, new_password)
        for slug, name in TENANTS.items():
            if not Tenant.objects.filter(slug=slug).exists():
                call_command("create_tenant", slug, name=name, verbosity=0, stdout=self.stdout)
            made = fill_tenant(Tenant.objects.get(slug=slug), users)
            if verbosity > 0:
                self.stdout.write(f"{slug}: {f'{made} posts created' if made else 'unchanged'}")


def demo_password():
    """Return the demo users' password, and whether it is new."""
    if os.environ.get("DEMO_PASSWORD"):
        return os.environ["DEMO_PASSWORD"], False
    path = settings.BASE_DIR / PASSWORD_FILE
    # The file is empty if an earlier run was killed right after creating it.
    if path.exists() and (password := path.read_text().strip()):
        return password, False
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    password = secrets.token_urlsafe(12)
    path.write_text(password + "\n")
    return password, True


def make_users(password, new_password):
    """Return {username: user}, creating missing users.

    With `new_password` all users get it.
    """
    users = {user.username: user for user in User.objects.filter(username__in=USERS)}
    for username, (name, rights) in USERS.items():
        user = users.get(username) or User(username=username, name=name, **rights)
        if user.pk is None or new_password:
            user.set_password(password)
            user.save()
        users[username] = user
    return users


def fill_tenant(tenant, users):
    """Create the tenant's memberships and, if it has none, its posts.

    Returns the number of new posts.
    """
    there = set(Membership.objects.filter(tenant=tenant).values_list("user__username", flat=True))
    authors = [username for slug, username, *_ in POSTS if slug == tenant.slug]
    for place, username in enumerate(dict.fromkeys(authors)):
        if username not in there:
            role = Membership.Role.MEMBER if place else Membership.Role.OWNER
            add_member(users[username], tenant, role=role)
    with tenant_context(tenant):
        if Post.objects.exists():
            return 0
        now = timezone.now()
        posts = [
            Post(
                title=title,
                content=content,
                user_id=users[username].pk,
                published_at=now - timedelta(days=2 * age),
            )
            for age, (slug, username, title, content) in enumerate(POSTS)
            if slug == tenant.slug
        ]
        return len(Post.objects.bulk_create(posts))
