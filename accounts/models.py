"""Users, tenants and memberships: D1's data, of which each tenant's object copies its members."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models

from accounts.validators import validate_tenant_slug


class User(AbstractUser):
    """Who may sign in; a tenant's object holds copies without a password (see `accounts.members`)."""

    name = models.CharField(max_length=150, blank=True, help_text="As shown beside posts.")

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
        help_text="Names the tenant's Durable Object, and so never changes.",
    )
    name = models.CharField(max_length=150)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self):
        return self.name or self.slug


class Membership(models.Model):
    """A user's place in a tenant; saving or deleting one reaches the tenant's object."""

    class Role(models.TextChoices):
        MEMBER = "member", "Member"
        OWNER = "owner", "Owner"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    role = models.CharField(
        max_length=10,
        choices=Role,
        default=Role.MEMBER,
        help_text="Members write posts and edit their own; owners edit everybody's.",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["user", "tenant"], name="accounts_membership_once"),
        ]

    def __str__(self):
        return f"{self.user} in {self.tenant}"
