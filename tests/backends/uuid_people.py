"""Log a user with a UUID in on sqlite3; print the column, the user of the next request and its queries."""

from __future__ import annotations

import json
import sys

import django
from django.conf import settings

SESSIONS = "do_bridge.contrib.sessions"


def configure() -> None:
    settings.configure(
        SECRET_KEY="x" * 50,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "people", SESSIONS],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        AUTH_USER_MODEL="people.Person",
        SESSION_ENGINE=f"{SESSIONS}.backend",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            f"{SESSIONS}.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
    )
    django.setup()


urlpatterns: list[object] = []


def main() -> None:
    configure()
    from django.core.management import call_command
    from django.db import connection
    from django.http import HttpResponse
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.urls import path
    from people.models import Person

    from do_bridge.contrib.sessions.models import Session

    urlpatterns.append(path("", lambda request: HttpResponse(str(request.user.pk))))
    call_command("migrate", run_syncdb=True, verbosity=0)
    person = Person.objects.create(email="a@example.com")
    client = Client()
    client.force_login(person)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get("/")
    found = {
        "column": Session.objects.get().user_id == person.pk,
        "user": answer.content.decode() == str(person.pk),
        "queries": len(queries),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    sys.modules["uuid_people"] = sys.modules["__main__"]
    main()
