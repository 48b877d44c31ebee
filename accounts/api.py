"""`/api/users` of a tenant: the users of D1 and of the tenant's object, side by side."""

import json

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import JsonResponse
from django.views.decorators.http import require_http_methods

from accounts.members import CopyFailed, add_member, membership_of
from accounts.models import Tenant, User
from do_bridge.tenancy import current_tenant, tenant_alias

LIMIT = 1000  # rows of each side
FIELDS = ("id", "username", "name", "is_active")


@require_http_methods(["GET", "POST"])
def users(request):
    """List (members and staff) or create (staff who may add users) users.

    Staff see all of D1's users, a member those of the tenant alone.
    """
    if not request.user.is_authenticated:
        return refusal(401, "Sign in first.")
    slug = current_tenant()
    if request.method == "POST":
        if not (
            request.user.is_staff and request.user.has_perms(["accounts.add_user", "accounts.add_membership"])
        ):
            return refusal(
                403, "Creating users takes a staff user with the rights to add users and memberships."
            )
        return create_user(request, slug)
    if not request.user.is_staff and membership_of(request.user, slug) is None:
        return refusal(403, "Only members of this tenant and staff see its users.")
    return list_users(request.user, slug)


def list_users(user, slug):
    of_d1 = User.objects.using("default").order_by("id")
    if not user.is_staff:
        of_d1 = of_d1.filter(memberships__tenant__slug=slug)
    of_object = User.objects.using(tenant_alias(slug)).order_by("id")
    return JsonResponse(
        {
            "tenant": slug,
            "d1": list(of_d1.values(*FIELDS)[:LIMIT]),
            "object": list(of_object.values(*FIELDS)[:LIMIT]),
        }
    )


def create_user(request, slug):
    """Create a user in D1 and its copy in the object; 502 says that D1 alone has it, and how to repair it."""
    try:
        user = user_from(request.body)
    except ValidationError as exc:
        return JsonResponse({"error": "Nothing was created.", "fields": exc.message_dict}, status=400)
    try:
        user.save(force_insert=True)
    except IntegrityError:
        return refusal(409, f"Nothing was created: there is a user named {user.username}.")
    try:
        add_member(user, Tenant.objects.get(slug=slug))
    except CopyFailed as exc:
        answer = {
            "error": str(exc),
            "d1": row_of(user),
            "object": None,
            "repair": f"manage.py sync_members {slug}",
        }
        return JsonResponse(answer, status=502)
    copy = User.objects.using(tenant_alias(slug)).get(pk=user.pk)
    return JsonResponse({"tenant": slug, "d1": row_of(user), "object": row_of(copy)}, status=201)


def user_from(body):
    """Make an unsaved user of a JSON object with username and, if one likes, name, email and password.

    Raises ValidationError whose message_dict names the fields.
    """
    try:
        data = json.loads(body)
    except ValueError as exc:
        raise ValidationError({"body": "This is not JSON."}) from exc
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValidationError({"body": "Send one JSON object whose values are texts."})
    unknown = set(data) - {"username", "name", "email", "password"}
    if unknown:
        raise ValidationError(dict.fromkeys(unknown, "There is no such field."))
    password = data.pop("password", None)
    user = User(**data)
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as exc:
            raise ValidationError({"password": exc.messages}) from exc
    user.set_password(password)
    # The key's own uniqueness is left to the database, which tells it without a trip more.
    user.full_clean(validate_unique=False, validate_constraints=False)
    return user


def row_of(user):
    return {name: getattr(user, name) for name in FIELDS}


def refusal(status, message):
    return JsonResponse({"error": message}, status=status)
