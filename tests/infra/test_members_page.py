"""What docs/howto/members.md shows works, with a user model and a membership model unlike the site's."""

import re
import secrets
from pathlib import Path

import pytest

from tests.infra.test_newcomer import ONLY_D1, TENANTS, Project
from tests.production import ProductionWorker

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "members.md").read_text()
FILES = dict(re.findall(r"```python\n# ([a-z_/]+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"python manage\.py (.*?)\s+#|python manage\.py (.+)", PAGE)
POST = """
from django.conf import settings
from django.db import models

class Post(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="posts")
"""
VIEWS = """
from django.http import HttpResponse
from django.urls import path

from blog.models import Post

def new_post(request):
    Post.objects.create(title="Hello", author=request.user)
    names = ", ".join(sorted(post.author.called for post in request.user.posts.all()))
    places = request.user.enrolment_set.count()
    return HttpResponse(f"{names}; {places}; {request.user.has_perm('blog.add_post')}")

urlpatterns = [path("", new_post)]
"""
BEFORE = """
from accounts.models import Club, Enrolment, Person
from do_bridge.tenancy.lifecycle.creation import create_tenant

club = Club.objects.get(slug="acme")
people = [
    Person.objects.create(email=f"{name}@club.example", called=name.title(), phone=name)
    for name in ("ada", "bo", "cy")
]
Enrolment.objects.bulk_create(Enrolment(person=person, club=club) for person in people[:2])
"""
READ = """
from accounts.models import *
from blog.models import Post
from django.test import Client
from do_bridge.members.syncing import add_member, out_of_sync, remove_member
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.tenants import lookup

ada, bo, cy = Person.objects.order_by("email")
club = Club.objects.get(slug="acme")

def copies(slug="acme"):
    rows = Person.objects.using(f"tenant/{slug}").order_by("email")
    return [(row.email, row.called, row.phone == f"copy-{row.pk}") for row in rows]

def show(name, value):
    print(f"{name}: {value}")
"""
CHECKED = """
show("synced", copies())
Person.objects.filter(pk=ada.pk).update(called="Countess")
Person.objects.filter(pk=bo.pk).update(phone="another")
show("flagged", [row.slug for row in out_of_sync()])
lookup.forget()
lookup.get("acme")
show("used", copies())
show("flags left", out_of_sync().exists())
client = Client(headers={"host": "localhost"})
client.force_login(cy)
show("page", client.get("/t/acme/").content.decode())
show("author", Post.objects.using("tenant/acme").get().author.called)
add_member(cy, club, invited_by=ada)
remove_member(bo, club)
show("invited", Enrolment.objects.get(person=cy).invited_by == ada)
create_tenant("zeta", members=[bo])
show("zeta", copies("zeta"))
show("zeta's member", Enrolment.objects.get(club__slug="zeta").person == bo)
# Two people change places: an email is unique in a copy, too.
Person.objects.filter(pk=ada.pk).update(email="aside")
Person.objects.filter(pk=cy.pk).update(email="ada@club.example")
Person.objects.filter(pk=ada.pk).update(email="cy@club.example")
lookup.forget()
lookup.get("acme")
show("changed", copies())
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with ProductionWorker(tmp_path_factory.mktemp("state"), token=secrets.token_urlsafe(32)) as running:
        yield running


def shown(text):
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def test_the_page_works_as_it_is_written(tmp_path, worker):
    project = Project(tmp_path, worker)
    project.write("accounts/models.py", FILES["accounts/models.py"])
    project.write("blog/models.py", POST)
    project.write("shop/tenant_urls.py", VIEWS)
    # As it was before: tenants, and nobody's copies.
    project.configure(
        ONLY_D1, TENANTS, 'AUTH_USER_MODEL = "accounts.Person"\nDO_BRIDGE["TENANT_MODEL"] = "accounts.Club"'
    )
    project.manage("makemigrations", "accounts", "blog")
    project.manage("migrate")
    project.manage("create_tenant", "acme")
    project.manage("shell", "-c", BEFORE)
    project.configure("", FILES["shop/settings.py"])
    assert "no issues" in project.manage("check")
    assert "No changes" in project.manage("makemigrations", "--check")
    for one, other in COMMANDS:
        project.manage(*(one or other).split())
    said = shown(project.manage("shell", "-c", READ + CHECKED))
    both = [("ada@club.example", "Ada", True), ("bo@club.example", "Bo", True)]
    countess = ("ada@club.example", "Countess", True)
    cy = ("cy@club.example", "Cy", True)
    assert said == {
        "synced": str(both),
        "flagged": "['acme']",
        "used": str([countess, both[1]]),
        "flags left": "False",
        "page": "Cy; 0; False",
        "author": "Cy",
        "invited": "True",
        "zeta": str([both[1]]),
        "zeta's member": "True",
        "changed": str([("ada@club.example", "Cy", True), both[1], ("cy@club.example", "Countess", True)]),
    }, cy


def test_settings_that_copy_nobody_are_refused(tmp_path, worker):
    project = Project(tmp_path, worker)
    project.write("accounts/models.py", FILES["accounts/models.py"])
    project.write("blog/models.py", POST)
    project.configure(ONLY_D1, TENANTS, FILES["shop/settings.py"])
    own, name = 'DO_BRIDGE["MEMBERSHIP_MODEL"]', '"accounts.Enrolment"'
    several = f'{own} = {name}; del DO_BRIDGE["MEMBERSHIP_FIELDS"]'
    unknown = 'DO_BRIDGE |= {"MEMBERSHIP_FIELDS": ("person", "club"), "MEMBER_FIELDS": ["nobody"]}'
    unseen = 'DO_BRIDGE["MEMBER_FIELDS"] = ["email"]; MIDDLEWARE = MIDDLEWARE[:2]'
    for change, told in (
        (f"del {own}", "do_bridge.E016"),
        (f'{own} = "accounts.Place"', "do_bridge.E016"),
        (several, "has 2 foreign keys to accounts.Person"),
        (unknown, "do_bridge.E017"),
        (f"{unseen} + [AUTH]", "do_bridge.W013"),
    ):
        project.configure(f"\nAUTH = 'django.contrib.auth.middleware.AuthenticationMiddleware'\n{change}\n")
        done = project.run("check")
        assert told in done.stderr, (change, done.stderr)
