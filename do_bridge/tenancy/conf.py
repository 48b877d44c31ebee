"""The settings of the tenancy layer: the dictionary DO_BRIDGE with its defaults."""

from django.conf import settings

DEFAULTS = {
    # App labels ("blog") and models ("blog.Post") that live in the tenants' objects.
    "TENANT_MODELS": (),
    # Models whose rows follow the context, and are D1's where no tenant is current.
    "CONTEXT_MODELS": ("admin.LogEntry",),
    # The model in D1 with one row for each tenant; it needs a field `slug`.
    "TENANT_MODEL": "accounts.Tenant",
    # The alias of the shared database.
    "DIRECTORY_ALIAS": "default",
    # Path before a tenant's slug, and the paths that work on the directory's own rows.
    "TENANT_PATH": "/t/",
    "DIRECTORY_PATHS": ("/admin/",),
    # The URLconf of a tenant's pages; None: the project's, for tenants and D1 alike.
    "TENANT_URLCONF": None,
    # "example.com" serves the tenant acme at acme.example.com too; empty: paths alone.
    "TENANT_DOMAIN": "",
    # How long, in seconds, and for how many tenants a process remembers a tenant's row.
    "TENANT_CACHE_SECONDS": 30,
    "TENANT_CACHE_SIZE": 1000,
    # Live connections to tenants that a thread keeps.
    "MAX_TENANT_CONNECTIONS": 32,
    # For the app do_bridge.members: the model in D1 that says who is a member, the names of its foreign keys
    # (to the user, to the tenant) if it has several, and the user's fields that copies hold.
    "MEMBERSHIP_MODEL": None,
    "MEMBERSHIP_FIELDS": None,
    "MEMBER_FIELDS": None,
    # Whether reading users by a tenant's table, inside the tenant, means its copies; else it is refused.
    "USERS_FROM_COPIES": False,
    # Dotted path of a callable (tenant, username) that makes a user a member.
    "ADD_MEMBER": None,
    # Dotted path of a callable (users) that returns a new tenant's first members' rows, see provision.py.
    "FIRST_MEMBERS": None,
    # Whether a tenant that is behind the code is migrated on first use; else its pages answer 503.
    "CATCH_UP": True,
    # For how long, in seconds, an operation on a tenant holds its lease, which it renews while it works.
    "LEASE_SECONDS": 30,
    # Whether code refuses a tenant with migrations that it does not have; else it needs its own alone.
    "REQUIRE_EXACT_SCHEMA": False,
    # Whether test cases restore rows on databases without transactions; see do_bridge.testing.RestoreRows.
    "RESTORE_TEST_ROWS": False,
    # Where do_bridge.testing's runner and pytest plugin run tests: "local" starts a relay on this machine,
    # "configured" takes the one that DATABASES names.
    "TEST_RELAY": "local",
    # What the ledger notes as the version of the code, e.g. a commit; do_bridge's own if left out.
    "VERSION": None,
}


def conf(name):
    """Return the setting DO_BRIDGE[name], or its default; raise KeyError for a name that is no setting."""
    default = DEFAULTS[name]
    return getattr(settings, "DO_BRIDGE", {}).get(name, default)
