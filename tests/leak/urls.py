"""A tenant's URLs of the leak test: the site's, the odd pages and the shop."""

from django.urls import include, path

from tests.leak.site_urls import handler400, handler500
from tests.leak.site_urls import urlpatterns as site

__all__ = ["handler400", "handler500", "urlpatterns"]

urlpatterns = [path("shop/", include("tests.leak.shop.urls")), *site]
