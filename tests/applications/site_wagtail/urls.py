"""Wagtail's URLs, its API and Django's admin."""

from django.contrib import admin
from django.urls import include, path
from site_wagtail.views import search
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.api.v2.router import WagtailAPIRouter
from wagtail.api.v2.views import PagesAPIViewSet
from wagtail.contrib.redirects.api import RedirectsAPIViewSet
from wagtail.contrib.sitemaps.views import sitemap
from wagtail.documents import urls as wagtaildocs_urls
from wagtail.documents.api.v2.views import DocumentsAPIViewSet
from wagtail.images.api.v2.views import ImagesAPIViewSet

api = WagtailAPIRouter("api")
for name, view in (
    ("pages", PagesAPIViewSet),
    ("images", ImagesAPIViewSet),
    ("documents", DocumentsAPIViewSet),
    ("redirects", RedirectsAPIViewSet),
):
    api.register_endpoint(name, view)

urlpatterns = [
    path("django-admin/", admin.site.urls),
    path("admin/", include(wagtailadmin_urls)),
    path("documents/", include(wagtaildocs_urls)),
    path("api/v2/", api.urls),
    path("sitemap.xml", sitemap),
    path("search/", search, name="search"),
    path("", include(wagtail_urls)),
]
