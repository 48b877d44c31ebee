"""A tenant's pages: the list of posts, a post, and the form for members."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Left
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from accounts.members import membership_of, memberships_of
from accounts.models import Membership
from blog.forms import PostForm
from blog.models import Post
from do_bridge import current_tenant, gather

PAGE_SIZE = 10
EXCERPT = 400  # characters; a whole post can have a hundred thousand


@require_safe
def post_list(request):
    """Show one page of posts.

    It reads one more row to see whether an older page exists.
    """
    page = page_number(request)
    posts = Post.objects.select_related("user").defer("content").annotate(excerpt=Left("content", EXCERPT))
    start = (page - 1) * PAGE_SIZE
    rows, membership = gather(
        posts[start : start + PAGE_SIZE + 1], memberships_of(request.user, current_tenant()).first
    )
    if not rows and page > 1:
        raise Http404("This page of posts does not exist.")
    context = {
        "posts": rows[:PAGE_SIZE],
        "page": page,
        "newer": page - 1,
        "older": page + 1 if len(rows) > PAGE_SIZE else None,
        "membership": membership,
    }
    return render(request, "blog/post_list.html", context)


@require_safe
def post_detail(request, pk):
    post, membership = gather(
        Post.objects.select_related("user").filter(pk=pk).first,
        memberships_of(request.user, current_tenant()).first,
    )
    if post is None:
        raise Http404("This post does not exist.")
    return render(request, "blog/post_detail.html", {"post": post, "may_edit": may_edit(membership, post)})


@login_required
def post_new(request):
    require_membership(membership_of(request.user, current_tenant()))
    return post_form(request, Post(user=request.user), done="The post was published.")


@login_required
def post_edit(request, pk):
    post, membership = gather(
        Post.objects.filter(pk=pk).first, memberships_of(request.user, current_tenant()).first
    )
    require_membership(membership)
    if post is None:
        raise Http404("This post does not exist.")
    if not may_edit(membership, post):
        raise PermissionDenied("You can edit only your own posts. Owners of the tenant can edit all posts.")
    return post_form(request, post, done="The post was saved.")


@login_required
def post_delete(request, pk):
    """Ask for confirmation, then delete a post.

    Authors delete their own posts. Owners of the tenant delete all.
    """
    post, membership = gather(
        Post.objects.filter(pk=pk).first, memberships_of(request.user, current_tenant()).first
    )
    require_membership(membership)
    if post is None:
        raise Http404("This post does not exist.")
    if not may_edit(membership, post):
        raise PermissionDenied("You can delete only your own posts. Owners of the tenant can delete all.")
    if request.method == "POST":
        post.delete()
        messages.success(request, f"“{post.title}” was deleted.")
        return redirect("home")
    return render(request, "blog/post_delete.html", {"post": post})


def post_form(request, post, *, done):
    """Show the form, or save it and redirect to the post."""
    form = PostForm(request.POST or None, instance=post)
    if request.method == "POST" and form.is_valid():
        saved = form.save()
        messages.success(request, done)
        return redirect(saved)
    return render(request, "blog/post_form.html", {"form": form, "post": post})


def page_number(request):
    """Return the number in `?page=`, or 1 without one.

    Raises Http404 if it is not a positive number.
    """
    text = request.GET.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) > 0):
        raise Http404("This page of posts does not exist.")
    return int(text)


def require_membership(membership):
    """Raise PermissionDenied if the user has no membership of the current tenant."""
    if membership is None:
        raise PermissionDenied("Only members of this tenant can write posts.")


def may_edit(membership, post):
    return membership is not None and (
        membership.role == Membership.Role.OWNER or membership.user_id == post.user_id
    )
