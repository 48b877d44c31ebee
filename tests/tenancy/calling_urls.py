"""URLs of a test that says itself what its view does."""

from django.http import HttpResponse
from django.urls import path

#: What the next request does: a function (request), or a coroutine function at /async/.
work = []


def call(request):
    work.append(work.pop()(request))
    return HttpResponse("done")


async def call_async(request):
    work.append(await work.pop()(request))
    return HttpResponse("done")


urlpatterns = [path("", call), path("async/", call_async)]
