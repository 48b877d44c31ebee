"""A site with read replicas in a process of its own: sends the requests of one visitor, prints the answers.

Its orders are JSON on standard input: `url` and `token` of the relay, `database`, `cookies`, and `requests`,
a list of [method, name]. A GET returns all names, a POST adds one. It prints {"answers": …, "cookies": …}.
"""

import json
import sys
from pathlib import Path

from django.conf import settings
from django.http import JsonResponse
from django.urls import path

ROOT = Path(__file__).parent.parent.parent


def names(request):
    from django.db import connection

    with connection.cursor() as cursor:
        if request.method == "POST":
            cursor.execute("INSERT INTO shelf_author (name) VALUES (%s)", [request.GET["name"]])
        cursor.execute("SELECT name FROM shelf_author ORDER BY name")
        return JsonResponse([name for (name,) in cursor.fetchall()], safe=False)


urlpatterns = [path("", names)]


def main(orders):
    sys.path.insert(0, str(ROOT))
    database = {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": orders["database"],
        "HOST": orders["url"],
        "PASSWORD": orders["token"],
        "OPTIONS": {"replicas": True},
    }
    settings.configure(
        SECRET_KEY="the key that all processes of the site share",
        DATABASES={"default": database},
        MIDDLEWARE=["do_bridge.contrib.replicas.ReplicaMiddleware"],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["testserver"],
    )
    import django
    from django.test import Client

    django.setup()
    client = Client()
    client.cookies.load(orders["cookies"])
    answers = [client.generic(method, f"/?name={name}").json() for method, name in orders["requests"]]
    cookies = {name: morsel.value for name, morsel in client.cookies.items() if morsel["max-age"] != 0}
    sys.stdout.write(json.dumps({"answers": answers, "cookies": cookies}))


if __name__ == "__main__":
    main(json.load(sys.stdin))
