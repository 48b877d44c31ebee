"""Whoever signs up in a tenant's shop is a member of the tenant."""

from django.contrib.auth import get_user_model
from django.db.models.signals import post_save
from django.dispatch import receiver

from do_bridge.members.syncing import add_member
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.tenants import lookup


@receiver(post_save, sender=get_user_model())
def join(instance, created, raw, using, **kwargs):
    if created and not raw and using == "default" and current_tenant():
        add_member(instance, lookup.get(current_tenant()))
