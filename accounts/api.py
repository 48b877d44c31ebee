"""The endpoint `/api/users` of a tenant: users of D1 and their copies.

`docs/reference/http-api.md` describes it.
"""

import json
import logging

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, InterfaceError
from django.http import JsonResponse

from accounts.api_access import api_view, refusal
from accounts.members import membership_of
from accounts.models import User
from accounts.validators import is_storable
from do_bridge import current_tenant, tenant_alias
from do_bridge.members.syncing import CopyFailed, add_member

logger = logging.getLogger(__name__)

LIMIT = 1000  # rows of each side in one answer
MAX_KEY = 2**63 - 1
FIELDS = ("id", "username", "name", "is_active")


@api_view("GET", "POST")
def users(request):
    """List users (members and staff) or create one (staff who may add users).

    Staff with the permission to view users see all of D1's, a member those of the tenant alone. Both sides
    come in the order of their keys, up to the key `next`; `?after=<next>` returns what follows, until
    `next` is null.
    """
    if not request.user.is_authenticated:
        return refusal(401, "Log in, or send the header Authorization: Bearer <token>.")
    slug = current_tenant()
    if request.method == "POST":
        if not (
            request.user.is_staff and request.user.has_perms(["accounts.add_user", "accounts.add_membership"])
        ):
            return refusal(
                403,
                "To create users you need to be staff, with the permissions to add users and memberships.",
            )
        return create_user(request.body, request.tenant)
    sees_all = request.user.is_staff and request.user.has_perm("accounts.view_user")
    if not sees_all and membership_of(request.user, slug) is None:
        return refusal(
            403,
            "Only members of this tenant, and staff with the permission to view users, can list its users.",
        )
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 20 and int(after) <= MAX_KEY):
        return refusal(400, "`after` must be the whole number that an earlier answer gave as `next`.")
    return list_users(slug, sees_all, int(after))


def list_users(slug, sees_all, after):
    of_d1 = User.objects.using("default").filter(pk__gt=after).order_by("id")
    if not sees_all:
        of_d1 = of_d1.filter(memberships__tenant__slug=slug)
    of_object = User.objects.using(tenant_alias(slug)).filter(pk__gt=after).order_by("id")
    sides = [list(rows.values(*FIELDS)[: LIMIT + 1]) for rows in (of_d1, of_object)]
    # If one side has more rows, the other stops at the same key, so that they can be compared.
    last = min((side[LIMIT - 1]["id"] for side in sides if len(side) > LIMIT), default=None)
    if last is not None:
        sides = [[row for row in side if row["id"] <= last] for side in sides]
    return JsonResponse({"tenant": slug, "d1": sides[0], "object": sides[1], "next": last})


def create_user(body, tenant):
    """Create a user in D1 and its copy in the object.

    502 names what exists, and how to repair the rest.
    """
    try:
        user = user_from(body)
    except ValidationError as exc:
        return JsonResponse({"error": "Nothing was created.", "fields": exc.message_dict}, status=400)
    try:
        user.save(force_insert=True)
    except IntegrityError:
        return refusal(409, f"Nothing was created: a user named {user.username} already exists.")
    try:
        add_member(user, tenant)
        copy = User.objects.using(tenant_alias(tenant.slug)).get(pk=user.pk)
    except CopyFailed as exc:
        return half_done(user, str(exc), f"manage.py sync_members {tenant.slug}")
    except (DatabaseError, InterfaceError):
        logger.exception("The user %s was created, but the membership in %s may be missing", user, tenant)
        member = f"manage.py create_tenant {tenant.slug} --member {user.username}"
        return half_done(
            user,
            "The user was created in D1, but the membership and the copy in the tenant may be missing.",
            member,
        )
    return JsonResponse({"tenant": tenant.slug, "d1": row_of(user), "object": row_of(copy)}, status=201)


def half_done(user, error, repair):
    """Answer that D1 has the user and the object may not.

    `repair` is the command that completes it.
    """
    answer = {"error": error, "d1": row_of(user), "object": None, "repair": repair}
    return JsonResponse(answer, status=502)


def user_from(body):
    """Return an unsaved user from a JSON object.

    It has the key username, and may have name, email and password. Raises ValidationError whose message_dict
    names the fields.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise ValidationError({"body": "The body is not JSON."}) from exc
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValidationError({"body": "Send one JSON object whose values are strings."})
    unknown = set(data) - {"username", "name", "email", "password"}
    if unknown:
        raise ValidationError(
            dict.fromkeys(unknown, "This field does not exist. Use username, name, email and password.")
        )
    for name, value in data.items():
        if not is_storable(value):
            raise ValidationError({name: "The text has a lone surrogate or a NUL character. Remove it."})
    password = data.pop("password", None)
    # Before validation, as forms do: one character can stand for a whole phrase, spaces included.
    data["username"] = User.normalize_username(data.get("username", ""))
    user = User(**data)
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as exc:
            raise ValidationError({"password": exc.messages}) from exc
    user.set_password(password)
    # The database checks the key's uniqueness, which saves a round trip.
    user.full_clean(validate_unique=False, validate_constraints=False)
    return user


def row_of(user):
    return {name: getattr(user, name) for name in FIELDS}
