"""django-oscar's shop for each tenant, by subdomain; every table of the shop is a tenant's."""

from pathlib import Path

from oscar import INSTALLED_APPS as OSCAR
from oscar.defaults import *  # noqa: F403

from tests.applications.tenants.settings import *  # noqa: F403
from tests.applications.tenants.settings import DO_BRIDGE, MIDDLEWARE

INSTALLED_APPS = [
    "do_bridge",
    "do_bridge.members",
    *OSCAR,
    "sorl.thumbnail",
    "tests.applications.tenants.people",
    "tests.applications.tenants.shop.apps.ShopConfig",
]
MIDDLEWARE = [
    *MIDDLEWARE[:4],
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
]
MESSAGE_STORAGE = "do_bridge.contrib.messages.TenantCookieStorage"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ]
        },
    }
]
AUTHENTICATION_BACKENDS = ["oscar.apps.customer.auth_backends.EmailBackend"]
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
MEDIA_ROOT = Path.cwd() / "media"
MEDIA_URL = "/media/"
OSCAR_INITIAL_ORDER_STATUS = "Pending"
OSCAR_ALLOW_ANON_CHECKOUT = True
OSCAR_DEFAULT_CURRENCY = "EUR"
DO_BRIDGE = {
    **DO_BRIDGE,
    "TENANT_DOMAIN": "shop.test",
    "TENANT_URLCONF": "tests.applications.tenants.shop.urls",
    # Oscar writes mails to users whom it reads from orders.
    "MEMBER_FIELDS": ("username", "first_name", "last_name", "email", "is_active"),
    "USERS_FROM_COPIES": True,
    "TENANT_MODELS": (
        "address",
        "analytics",
        "basket",
        "catalogue",
        "checkout",
        "communication",
        "customer",
        "flatpages",
        "offer",
        "order",
        "partner",
        "payment",
        "reviews",
        "search",
        "shipping",
        "sites",
        "thumbnail",
        "voucher",
        "wishlists",
        "reports_dashboard",
    ),
}
# Without SITE_ID Django keeps sites by their host, and each tenant has one of its own.
SILENCED_SYSTEM_CHECKS = ["do_bridge.E015"]
