"""The sandbox's URLs, without its error pages."""

from django.apps import apps
from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.sitemaps import GenericSitemap
from django.contrib.sitemaps.views import sitemap
from django.urls import include, path
from oscar.core.loading import get_model

products = GenericSitemap({"queryset": get_model("catalogue", "Product").objects.browsable().order_by("pk")})

urlpatterns = [
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("sitemap.xml", sitemap, {"sitemaps": {"products": products}}),
    *i18n_patterns(path("", include(apps.get_app_config("oscar").urls[0]))),
]
