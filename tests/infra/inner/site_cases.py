"""Tests that write to both sides; test_configured_databases runs them by Django's own runner."""

from django.db import connections
from django.test import TransactionTestCase

from accounts.models import User
from blog.models import Post
from do_bridge.testing import TenantTestCase


class WritesToD1(TransactionTestCase):
    def test_a_user_is_written_to_another_database_than_the_configured_one(self):
        User.objects.create(username="written-by-a-test")
        self.assertEqual(User.objects.count(), 1)
        self.assertEqual(connections["default"].settings_dict["NAME"][-1], "8")


class WritesToATenant(TenantTestCase):
    tenant_slug = "untouched"

    def test_a_post_is_written_to_another_object_than_the_tenants_own(self):
        user = User.objects.using("tenant/untouched").create(pk=1, username="written-by-a-test")
        Post.objects.create(title="written by a test", content="-", user_id=user.pk)
        self.assertEqual(Post.objects.count(), 1)
