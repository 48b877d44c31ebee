"""Who is a member of what."""

from django.conf import settings
from django.db import models


class Tenant(models.Model):
    slug = models.CharField(max_length=63, unique=True)


class Membership(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
