"""The page of a tenant's members.

Everybody sees the members. Owners add, change and remove them.
"""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.members import membership_of
from accounts.models import Membership, User
from do_bridge.members.syncing import CopyFailed, add_member


class MemberForm(forms.Form):
    """The user name and the role of a new member."""

    username = forms.CharField(label="Username", max_length=150)
    role = forms.ChoiceField(choices=Membership.Role.choices, initial=Membership.Role.MEMBER)


class RoleForm(forms.Form):
    """The role of a member."""

    role = forms.ChoiceField(choices=Membership.Role.choices)


@login_required
@require_safe
def members(request):
    own = _own(request)
    return _page(request, own, MemberForm() if is_owner(own) else None)


@login_required
@require_POST
def member_add(request):
    own = _owner(request)
    form = MemberForm(request.POST)
    if form.is_valid():
        user = User.objects.using("default").filter(username=form.cleaned_data["username"]).first()
        if user is None:
            form.add_error("username", "No user has this name. Check the spelling.")
        else:
            try:
                _saved(request, lambda: add_member(user, request.tenant, role=form.cleaned_data["role"]))
            except IntegrityError:
                form.add_error("username", "This user is a member already.")
            else:
                messages.success(request, f"{user} is a member now.")
                return redirect("members")
    return _page(request, own, form, status=400)


@login_required
@require_POST
def member_change(request, pk):
    own = _owner(request)
    member = _member(request, pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Http404("This role does not exist.")
    role = form.cleaned_data["role"]
    # One statement decides, because two owners may step down at once.
    rows = _kept_owned(request.tenant, member) if role != Membership.Role.OWNER else _rows(member)
    if rows.update(role=role):
        messages.success(request, f"{member.user} is {Membership.Role(role).label.lower()} now.")
    else:
        messages.error(request, "A tenant needs an owner. Make another member an owner first.")
    return redirect("members" if own.pk != member.pk or role == Membership.Role.OWNER else "home")


@login_required
@require_POST
def member_remove(request, pk):
    own = _owner(request)
    member = _member(request, pk)
    if not _kept_owned(request.tenant, member).exists():
        messages.error(request, "A tenant needs an owner. Make another member an owner first.")
        return redirect("members")
    _saved(request, member.delete)
    messages.success(request, f"{member.user} is no longer a member. Posts stay.")
    return redirect("members" if own.pk != member.pk else "home")


def is_owner(membership):
    return membership is not None and membership.role == Membership.Role.OWNER


def _rows(member):
    return Membership.objects.using("default").filter(pk=member.pk)


def _kept_owned(tenant, member):
    """Return the query for a membership, if the tenant has another owner.

    Otherwise the query is empty.
    """
    others = Membership.objects.using("default").filter(tenant=tenant, role=Membership.Role.OWNER)
    others = others.exclude(pk=member.pk)
    return _rows(member).filter(tenant__in=others.values("tenant"))


def _saved(request, change):
    """Make a change, and show a warning if only D1 has it.

    The next use of the tenant copies it.
    """
    try:
        change()
    except CopyFailed as error:
        messages.warning(request, str(error))


def _own(request):
    own = membership_of(request.user, request.tenant.slug)
    if own is None:
        raise PermissionDenied("Only members of this tenant can see its members.")
    return own


def _owner(request):
    own = _own(request)
    if not is_owner(own):
        raise PermissionDenied("Only owners of this tenant can manage its members.")
    return own


def _member(request, pk):
    rows = Membership.objects.using("default").select_related("user").filter(tenant=request.tenant, pk=pk)
    if (member := rows.first()) is None:
        raise Http404("This member does not exist.")
    return member


def _page(request, own, form, status=200):
    rows = Membership.objects.using("default").filter(tenant=request.tenant).select_related("user")
    context = {
        "members": rows.order_by("user__name", "user__username"),
        "own": own,
        "form": form,
        "roles": Membership.Role.choices,
    }
    return render(request, "accounts/members.html", context, status=status)
