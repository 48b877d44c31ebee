"""Views of a tenant that write two posts and then fail, or say so; see test_linked_requests.py."""

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import current_tenant, tenant_alias

# What views saw, and who writes the posts: one user's key.
SEEN, AUTHOR = [], []


class Failed(Exception):
    """What a view raises when it is told to."""


def work(request):
    """Write twice, note callbacks, and fail when `?fail=` asks for it."""
    for title in ("one", "two"):
        Post.objects.create(title=title, content="-", user_id=AUTHOR[0])
    for using in ("default", tenant_alias(current_tenant())):
        transaction.on_commit(lambda using=using: SEEN.append(using), using=using)
    SEEN.append(connections[tenant_alias(current_tenant())].in_atomic_block)
    if "fail" in request.GET:
        raise Failed("undo")
    if "swallow" in request.GET:
        transaction.set_rollback(True)
    return HttpResponse("done")


@transaction.non_atomic_requests
def apart(request):
    with transaction.atomic(using="default"):
        return work(request)


@transaction.atomic
def decorated(request):
    return work(request)


@method_decorator(transaction.atomic, name="dispatch")
class Classy(View):
    def get(self, request):
        return work(request)


@transaction.non_atomic_requests
async def slow(request):
    await sync_to_async(transaction.atomic(work))(request)
    return HttpResponse("done")


def quiet(request):
    User.objects.using("default").exists()
    return HttpResponse("done")


urlpatterns = [
    path("work/", work),
    path("apart/", apart),
    path("decorated/", decorated),
    path("classy/", Classy.as_view()),
    path("slow/", slow),
    path("quiet/", quiet),
]
