"""The admin of a tenant's posts."""

from django.contrib import admin

from blog.forms import LimitedPostForm
from blog.models import Post
from do_bridge.admin import TenantModelAdmin, tenant_site


@admin.register(Post, site=tenant_site)
class PostAdmin(TenantModelAdmin):
    form = LimitedPostForm
    date_hierarchy = "published_at"
    list_display = ["title", "user", "published_at"]
    list_filter = ["published_at", "created"]
    list_select_related = ["user"]
    show_full_result_count = False  # saves a round trip for the unfiltered count
    search_fields = ["title", "content", "user__username", "user__name"]
    autocomplete_fields = ["user"]
    readonly_fields = ["created", "updated"]

    def get_queryset(self, request):
        posts = super().get_queryset(request)
        if request.resolver_match.url_name == "blog_post_changelist":
            return posts.defer("content")  # may be long, and no column shows it
        return posts

    def view_on_site(self, obj):
        return obj.get_absolute_url()
