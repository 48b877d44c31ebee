"""A page that reads a tenant's notes."""

from importlib.util import find_spec

from django.http import HttpResponse
from django.urls import include, path

from tests.applications.integrations.desk.models import Note

PAGE = "<html><body><p>{}</p></body></html>"


def notes(request):
    found = Note.objects.filter(text__contains=request.GET.get("q", ""))
    return HttpResponse(PAGE.format(len(found)))


def plain(request):
    return HttpResponse(PAGE.format("-"))


def is_toolbar_shown(request):
    return True


urlpatterns = [
    path("notes/", notes),
    path("plain/", plain),
    path("page/", plain, name="page"),
    *([path("__debug__/", include("debug_toolbar.urls"))] if find_spec("debug_toolbar") else []),
]
