"""A tenant's URLs with pages that applications have and the blog has not: streams, async views, fragments."""

import asyncio

from django.db import transaction
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import Context, Template
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.cache import cache_page

from blog.models import Post
from do_bridge.tenancy import current_tenant, tenant_alias
from project.tenant_urls import handler400, handler500, urlpatterns

__all__ = ["handler400", "handler500", "urlpatterns"]

FRAGMENT = Template(
    "{% load cache %}{% cache 5 posts %}{% for post in posts %}{{ post.title }} {% endfor %}{% endcache %}"
)


def streamed(request):
    """Read rows while the answer is sent, after the middleware has returned."""

    def lines():
        for post in Post.objects.filter(pk__lte=6).iterator(chunk_size=2):
            yield f"{post.title}\n"
            yield f"{Post.objects.filter(pk=1).values_list('title', flat=True)[0]}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def gathered(request):
    """Read in several tasks at once."""

    async def title(key):
        await asyncio.sleep(0)
        return (await Post.objects.aget(pk=key)).title

    return JsonResponse({"titles": await asyncio.gather(*(title(key) for key in (1, 2, 3)))})


def late(request):
    """Give a queryset to a template that is rendered after the view."""
    context = {"posts": Post.objects.filter(pk__lte=5), "page": 1}
    return TemplateResponse(request, "blog/post_list.html", context)


def who(request):
    """Say who asks whom."""
    return JsonResponse({"user": request.user.get_username(), "tenant": current_tenant()})


def failing(request):
    """Fail in the middle of a transaction."""
    with transaction.atomic(using=tenant_alias(current_tenant())):
        Post.objects.create(title=request.GET["title"], content="-", user_id=request.user.pk)
        raise RuntimeError("This page fails.")


def noted(request):
    """Keep a note of this tenant in the session, which the user has in all tenants; answer with it."""
    if "note" in request.GET:
        request.session[f"note-{current_tenant()}"] = request.GET["note"]
    return HttpResponse(request.session.get(f"note-{current_tenant()}", ""))


def fragment(request):
    """Keep a part of the page for some seconds."""
    return HttpResponse(FRAGMENT.render(Context({"posts": Post.objects.filter(pk__lte=3)})))


cached = cache_page(5)(fragment)


urlpatterns = [
    path("cached/", cached),
    path("fragment/", fragment),
    path("streamed/", streamed),
    path("gathered/", gathered),
    path("late/", late),
    path("who/", who),
    path("failing/", failing),
    path("noted/", noted),
    *urlpatterns,
]
