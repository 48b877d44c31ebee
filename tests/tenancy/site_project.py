"""Makes the file of this site as if it had run on Django's own sqlite3 engine: `python … FILE`."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
#: (primary key, username) of the users; the first two write posts.
USERS = [(71, "ada"), (72, "brian"), (73, "carol")]
PASSWORD = "the-password-of-everybody"
SESSION = "session-of-ada-abcdefghijklmnop"
POSTS = 30


def main(path):
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    from django.conf import settings

    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}}
    settings.DATABASE_ROUTERS = []
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    fill()


def fill():
    from django.contrib.admin.models import LogEntry
    from django.contrib.auth.models import Group
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    from accounts.models import User
    from blog.models import Post

    group = Group.objects.create(name="editors")
    for pk, name in USERS:
        user = User.objects.create_user(
            name,
            f"{name}@site.example",
            PASSWORD,
            pk=pk,
            is_staff=True,
            is_superuser=pk == 71,
            name=name.title(),
        )
        user.groups.add(group)
    Session.objects.create(session_key=SESSION, session_data="secret", expire_date=timezone.now())
    kind = ContentType.objects.get_for_model(Post)
    LogEntry.objects.create(user_id=73, content_type=kind, object_id="1", object_repr="-", action_flag=1)
    for number in range(POSTS):
        Post.objects.create(title=f"Post {number}", content="text " * 200, user_id=71 + number % 2)
    sys.stdout.write(json.dumps({"type": kind.pk}))


if __name__ == "__main__":
    main(sys.argv[1])
