"""The import screen, with the resource that the environment names; it counts rows."""

import os

from django.contrib import admin
from import_export.admin import ImportMixin
from import_export.resources import ModelResource
from import_screen.models import Post

DONE = []


class Plain(ModelResource):
    """As django-import-export makes it without options."""

    class Meta:
        model = Post

    def after_import_row(self, row, row_result, **kwargs):
        DONE.append(1)


class Bulk(Plain):
    """Writes in bulk, and reads no row back to show what would change."""

    class Meta:
        model = Post
        use_bulk = True
        skip_diff = True


class Blind(Plain):
    """As Bulk, for files with new rows alone: it does not look for each row first."""

    class Meta:
        model = Post
        use_bulk = True
        skip_diff = True
        force_init_instance = True


@admin.register(Post)
class PostAdmin(ImportMixin, admin.ModelAdmin):
    """The screen."""

    resource_classes = [
        {"plain": Plain, "again": Plain, "bulk": Bulk, "blind": Blind}[os.environ["IMPORT_RESOURCE"]]
    ]
