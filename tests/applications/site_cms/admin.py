"""The topics' admin."""

from django.contrib import admin
from site_cms.models import Topic

admin.site.register(Topic, search_fields=["name"])
