"""The settings of the tenancy layer: the dictionary DO_BRIDGE with its defaults."""

from django.conf import settings

DEFAULTS = {
    # App labels ("blog") and models ("blog.Post") that live in the tenants' objects.
    "TENANT_MODELS": (),
    # Models whose rows follow the context, and are in D1 if no tenant is current.
    "CONTEXT_MODELS": ("admin.LogEntry",),
    # The model in D1 with one row for each tenant; it needs a field `slug`.
    "TENANT_MODEL": "accounts.Tenant",
    # The names of the tenant model's fields with a tenant's jurisdiction and location hint. None: all tenants
    # are in the jurisdiction that the template's OPTIONS name.
    "JURISDICTION_FIELD": None,
    "LOCATION_FIELD": None,
    # The alias of the shared database.
    "DIRECTORY_ALIAS": "default",
    # The path before a tenant's slug, and the paths on which directory_context() is active.
    "TENANT_PATH": "/t/",
    "DIRECTORY_PATHS": ("/admin/",),
    # The URLconf of a tenant's pages. None: the project's URLconf.
    "TENANT_URLCONF": None,
    # "example.com" also serves the tenant acme at acme.example.com. Empty: only paths.
    "TENANT_DOMAIN": "",
    # Slugs that no new tenant gets. Below TENANT_DOMAIN these names serve the shared site.
    "RESERVED_SLUGS": (
        "www",
        "mail",
        "smtp",
        "imap",
        "pop",
        "ftp",
        "mx",
        "ns1",
        "ns2",
        "autoconfig",
        "autodiscover",
        "webmail",
        "admin",
        "api",
        "static",
        "media",
        "assets",
        "cdn",
    ),
    # The model in D1 with tenants' own domains: a unique field `host` and a foreign key to the tenant.
    "DOMAIN_MODEL": None,
    # With DOMAIN_MODEL: hosts that serve the shared site beside TENANT_DOMAIN, as in ALLOWED_HOSTS.
    "SHARED_HOSTS": (),
    # For how many seconds, and for how many tenants, a process caches a tenant's row.
    "TENANT_CACHE_SECONDS": 30,
    "TENANT_CACHE_SIZE": 1000,
    # With OPTIONS["replicas"]: models that are read from the primary alone, because they decide who may do
    # what. A name in capitals stands for the model that this setting names.
    "PRIMARY_MODELS": (
        "AUTH_USER_MODEL",
        "auth.Group",
        "auth.Permission",
        "sessions.Session",
        "do_bridge_sessions.Session",
        "TENANT_MODEL",
        "DOMAIN_MODEL",
        "MEMBERSHIP_MODEL",
    ),
    # Open connections to tenants that a thread keeps.
    "MAX_TENANT_CONNECTIONS": 32,
    # For the app do_bridge.members: the membership model in D1, the names of its foreign keys (to the user,
    # to the tenant) if it has several, and the user's fields that copies hold.
    "MEMBERSHIP_MODEL": None,
    "MEMBERSHIP_FIELDS": None,
    "MEMBER_FIELDS": None,
    # Whether a query on users that joins a tenant's table reads the copies inside the tenant. False: refused.
    "USERS_FROM_COPIES": False,
    # Dotted path of a callable (tenant, username) that makes a user a member.
    "ADD_MEMBER": None,
    # Dotted path of a callable (users) that returns a new tenant's FirstMembers; see lifecycle/creation.py.
    "FIRST_MEMBERS": None,
    # Whether a tenant that is behind the code is migrated on first use. False: its pages return 503.
    "CATCH_UP": True,
    # The seconds for which an operation on a tenant holds its lease; it renews the lease while it works.
    "LEASE_SECONDS": 30,
    # Whether a bookmark is kept before each migration of a tenant, for `tenant_restore --before-migration`.
    "BOOKMARKS": True,
    # Whether code refuses a tenant with migrations that it does not have. False: only missing ones matter.
    "REQUIRE_EXACT_SCHEMA": False,
    # Whether test cases restore rows on databases without transactions; see do_bridge.testing.RestoreRows.
    "RESTORE_TEST_ROWS": False,
    # Where do_bridge.testing's runner and pytest plugin run tests: "local" starts a relay on this machine,
    # "configured" uses the one in DATABASES.
    "TEST_RELAY": "local",
    # For the app do_bridge.inspection: whether it sums requests and rows by database and hour in D1.
    "USAGE": True,
    # The version of the code that the ledger records, for example a commit. None: do_bridge's version.
    "VERSION": None,
}


def conf(name):
    """Return the setting DO_BRIDGE[name] or its default.

    Raises KeyError for an unknown setting.
    """
    default = DEFAULTS[name]
    return getattr(settings, "DO_BRIDGE", {}).get(name, default)
