"""Users, tenants and memberships, which are stored in D1."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models

from accounts.validators import validate_tenant_slug
from do_bridge.tenancy import places


class User(AbstractUser):
    """A user who may sign in.

    Tenants have copies without a password (see `do_bridge.members`).
    """

    name = models.CharField(max_length=150, blank=True, help_text="The name shown next to posts.")

    def get_full_name(self):
        return self.name or super().get_full_name()

    def get_short_name(self):
        return self.name or super().get_short_name() or self.username

    def __str__(self):
        return self.name or self.username


class Tenant(models.Model):
    """One tenant; its posts live in the Durable Object `tenant/<slug>`."""

    slug = models.CharField(
        max_length=63,
        unique=True,
        validators=[validate_tenant_slug],
        help_text="The name of the tenant's Durable Object. It can't be changed later.",
    )
    name = models.CharField(max_length=150)
    created = models.DateTimeField(auto_now_add=True)
    jurisdiction = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        choices=places.choices("jurisdiction"),
        help_text="Where all data of the tenant stays. manage.py tenant_move changes it.",
    )
    location = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        choices=places.choices("location"),
        help_text="Near which place the tenant's database is made, if that is possible.",
    )

    class Meta:
        ordering = ["slug"]

    def __str__(self):
        return self.name or self.slug


class Membership(models.Model):
    """A user's membership in a tenant.

    A change is copied into the tenant's Durable Object.
    """

    class Role(models.TextChoices):
        MEMBER = "member", "Member"
        OWNER = "owner", "Owner"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    role = models.CharField(
        max_length=10,
        choices=Role,
        default=Role.MEMBER,
        help_text="Members can write posts and edit their own. Owners can edit all posts and manage members.",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["user", "tenant"], name="accounts_membership_once"),
        ]

    def __str__(self):
        return f"{self.user} in {self.tenant}"


class ApiToken(models.Model):
    """A token with which a program acts as a user; see `accounts.tokens`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What the token is for.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    beginning = models.CharField(max_length=16, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    revoked = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API token"

    def __str__(self):
        return f"{self.name} ({self.beginning}…)"


class SignInFailure(models.Model):
    """The number of recent failed sign-ins for a name and an address.

    A row without a name counts those of all names from the address. Times are whole seconds since 1970, so
    that one statement can compare and count; see `accounts.throttle`.
    """

    username = models.CharField(max_length=150, blank=True)
    address = models.CharField(max_length=45, help_text="An IPv4 address, or the /64 network of an IPv6 one.")
    failures = models.PositiveIntegerField(default=1)
    last_at = models.BigIntegerField(db_index=True)
    blocked_until = models.BigIntegerField(default=0)
    token = models.CharField(max_length=32, help_text="The token of the attempt that was counted last.")

    class Meta:
        ordering = ["-last_at"]
        verbose_name = "failed sign-in"
        constraints = [
            models.UniqueConstraint(fields=["username", "address"], name="accounts_signinfailure_once"),
        ]

    def __str__(self):
        return f"{self.username or 'any name'} from {self.address}"
