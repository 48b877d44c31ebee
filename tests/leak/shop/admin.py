"""The shop's admin inside a tenant: filters, inlines, autocompletes and an action, each with querysets."""

from django.contrib import admin
from django.contrib.contenttypes.admin import GenericTabularInline
from django.db.models import Prefetch

from do_bridge.admin import TenantInlineMixin, TenantModelAdmin, tenant_site
from tests.leak.shop.catalogue import COUNTED, WITH_TARGET
from tests.leak.shop.models import Category, Comment, Item, Label

CHOICES = Category.objects.order_by("name")


class UsedCategoryFilter(admin.SimpleListFilter):
    title = "used category"
    parameter_name = "used"
    rows = Category.objects.order_by("pk")

    def lookups(self, request, model_admin):
        return [(row.pk, row.name) for row in self.rows.filter(items__isnull=False).distinct()]

    def queryset(self, request, queryset):
        return queryset.filter(category=self.rows.get(pk=self.value())) if self.value() else queryset


class CommentInline(TenantInlineMixin, GenericTabularInline):
    model = Comment
    extra = 0
    raw_id_fields = ["author"]


class ItemInline(TenantInlineMixin, admin.TabularInline):
    model = Item
    extra = 0
    fields = ["name", "stock", "owner"]


@admin.register(Item, site=tenant_site)
class ItemAdmin(TenantModelAdmin):
    list_display = ["name", "category", "owner", "label_names"]
    list_filter = [
        "category",
        "labels",
        UsedCategoryFilter,
        ("category__name", admin.AllValuesFieldListFilter),
    ]
    list_select_related = ["owner"]
    search_fields = ["name", "category__name"]
    autocomplete_fields = ["labels"]
    raw_id_fields = ["owner"]
    inlines = [CommentInline]
    actions = ["restock"]
    ordering = ["pk"]
    shown = [
        Prefetch("category", queryset=Category.objects.only("name")),
        Prefetch("labels", queryset=Label.objects.order_by("pk")),
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related(*self.shown)

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        if db_field.name == "category":
            kwargs["queryset"] = CHOICES
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description="labels")
    def label_names(self, item):
        return ", ".join(label.name for label in item.labels.all())

    @admin.action(description="Order more of the selected items")
    def restock(self, request, queryset):
        queryset.update(stock=5)
        names = ", ".join(item.name for item in queryset)
        self.message_user(request, f"Ordered: {names}")


@admin.register(Category, site=tenant_site)
class CategoryAdmin(TenantModelAdmin):
    list_display = ["name", "sold"]
    search_fields = ["name"]
    inlines = [ItemInline]
    ordering = ["pk"]

    def get_queryset(self, request):
        return super().get_queryset(request).annotate(sold=COUNTED)

    @admin.display(ordering="sold")
    def sold(self, category):
        return category.sold


@admin.register(Label, site=tenant_site)
class LabelAdmin(TenantModelAdmin):
    list_display = ["name"]
    search_fields = ["name"]
    ordering = ["pk"]
    list_filter = [("items__category", admin.RelatedOnlyFieldListFilter)]


@admin.register(Comment, site=tenant_site)
class CommentAdmin(TenantModelAdmin):
    list_display = ["text", "target"]
    list_filter = [("author", admin.RelatedOnlyFieldListFilter), "content_type"]
    ordering = ["pk"]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related(WITH_TARGET)
