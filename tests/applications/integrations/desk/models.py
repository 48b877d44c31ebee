"""The tenants, and what is theirs."""

from django.db import models


class Tenant(models.Model):
    slug = models.CharField(max_length=63, unique=True)


class Note(models.Model):
    """A tenant's."""

    text = models.CharField(max_length=200)


class Run(models.Model):
    """A task that began (`is_end` false) or came to its end, in the tenant that it ran in."""

    number = models.IntegerField()
    worker = models.CharField(max_length=64)
    is_end = models.BooleanField()


class Result(models.Model):
    """What a task makes, once however often it runs."""

    number = models.IntegerField(unique=True)
