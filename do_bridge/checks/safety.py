"""System checks of settings that are unsafe or that D1 can't support."""

from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, router

from do_bridge import patches
from do_bridge.backends.environment import in_test_environment
from do_bridge.contrib.cache import is_by_tenant
from do_bridge.driver.transport import is_on_this_machine
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import NoTenant
from do_bridge.tenancy.databases import (
    DURABLE_OBJECT_ENGINE,
    TenantDatabases,
    tenant_databases,
)
from do_bridge.tenancy.sides import follows_context, is_context_model, is_tenant_model

from .settings import D1_ENGINE, _plain_databases, _templates

ENGINES = (D1_ENGINE, DURABLE_OBJECT_ENGINE)
SHORTEST_TOKEN = 32
FEWEST_CHARACTERS = 10  # different ones
TENANT_KEY = "do_bridge.contrib.cache.tenant_key"
DIRECTORY_KEY = "do_bridge.contrib.cache.directory_key"
DUMMY_CACHE = "django.core.cache.backends.dummy.DummyCache"
CACHED_SESSIONS = (
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.cached_db",
)
# Their rows have the same keys in every database, so a foreign key to them works inside a tenant's.
COPIED_MODELS = ("contenttypes.contenttype", "auth.permission")
#: Task queues: {application: (its usual name, one of its models)}. Each locks rows in a transaction, with
#: select_for_update() or sqlite3's exclusive mode, to give a task to one worker alone. Read in the source of
#: django-tasks 0.11, django-tasks-db 0.13, django-q2 1.11 (its ORM broker itself compares before it takes),
#: django-db-queue 3.3 and django-mailer 2.3.
QUEUES = {
    "django_tasks.backends.database": ("django-tasks' database backend", "DBTaskResult"),
    "django_tasks_db": ("django-tasks-db", "DBTaskResult"),
    "django_q": ("django-q, for its schedules,", "Schedule"),
    "django_dbq": ("django-db-queue", "Job"),
    "mailer": ("django-mailer", "DontSendEntry"),
}


def _ours():
    """Return [(alias, settings)] of the databases of this package's engines."""
    return [
        (alias, values) for alias, values in _plain_databases().items() if values.get("ENGINE") in ENGINES
    ]


def is_weak(token):
    """Return whether a token can be guessed: it is short, or a repeated word."""
    return len(token) < SHORTEST_TOKEN or len(set(token)) < FEWEST_CHARACTERS


@register(Tags.security, deploy=True)
def check_token_strength(app_configs=None, **kwargs):
    """Warn of a token that can be guessed, or that another secret reveals."""
    warnings = []
    for alias, values in _ours():
        token = values.get("PASSWORD") or ""
        if token and is_weak(token):
            warnings.append(
                Warning(
                    f"The token of the database {alias!r} is short or has few different "
                    "characters, so it can be guessed.",
                    hint="Create one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
                    id="do_bridge.W005",
                )
            )
        if token and token in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            warnings.append(
                Warning(
                    f"The token of the database {alias!r} is also Django's SECRET_KEY.",
                    hint="Use two different values, because a leak of one would reveal the other.",
                    id="do_bridge.W006",
                )
            )
    return warnings


@register(Tags.security)
def check_encryption(app_configs=None, **kwargs):
    """Warn if the token and all data would travel unencrypted over a network."""
    return [
        Warning(
            f"The database {alias!r} is on another machine and is reached without TLS.",
            hint="Use https:// (or wss://). Otherwise others on the network can read the token and the data.",
            id="do_bridge.W007",
        )
        for alias, values in _ours()
        if _is_readable_on_the_way(values.get("HOST") or "")
    ]


def _is_readable_on_the_way(url):
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return False  # Not an address, so nothing is reached there.
    return scheme in ("http", "ws") and not is_on_this_machine(url)


@register()
def check_atomic_requests(app_configs=None, **kwargs):
    """Refuse ATOMIC_REQUESTS if nothing can be undone.

    Warn if a view would hold an object.
    """
    found = [
        _atomic_requests(alias, values)
        for alias, values in _ours()
        if values.get("ATOMIC_REQUESTS") and alias not in _templates()
    ]
    return [message for message in found if message is not None]


def _is_optimistic(values):
    return values.get("OPTIONS", {}).get("transactions") == "optimistic"


def _atomic_requests(alias, values):
    engine, optimistic = values["ENGINE"], _is_optimistic(values)
    hint = "Use transaction.atomic() around the writes, or keep views shorter than OPTIONS['lease']."
    if engine == DURABLE_OBJECT_ENGINE:
        return Warning(
            f"ATOMIC_REQUESTS is on for {alias!r}. Each view then locks the whole database, and is rolled "
            "back if it takes longer than the lease.",
            hint=hint,
            id="do_bridge.W008",
        )
    if alias == DEFAULT_DB_ALIAS and isinstance(settings.DATABASES, TenantDatabases):
        return Warning(
            f"ATOMIC_REQUESTS is on for {alias!r}. Each view then locks its tenant's database from its "
            "first statement there to its end."
            + ("" if optimistic else " If a view fails, its writes to D1 are not undone."),
            hint=hint,
            id="do_bridge.W010",
        )
    if optimistic:
        return None
    return Error(
        f"ATOMIC_REQUESTS is on for {alias!r}, but D1 has no transactions, so the writes of a failed view "
        "are not undone.",
        hint="Set OPTIONS['transactions'] to 'optimistic', or remove ATOMIC_REQUESTS and send writes that "
        "belong together with do_bridge.batch().",
        id="do_bridge.E008",
    )


@register()
def check_test_databases(app_configs=None, **kwargs):
    """Refuse a test database that is the configured one."""
    if in_test_environment():
        return []  # the test runner has put the test database in its place
    return [
        Error(
            f"TEST['NAME'] of the database {alias!r} is the database itself, which a test run would empty.",
            hint="Set it to another D1 database, or to another Durable Object's name.",
            id="do_bridge.E009",
        )
        for alias, values in _ours()
        if values.get("NAME") and (values.get("TEST") or {}).get("NAME") == values["NAME"]
    ]


@register(Tags.models)
def check_relations(app_configs=None, **kwargs):
    """Refuse relations between a tenant's rows and D1's, which are in two databases."""
    if tenant_databases() is None or not _templates():
        return []
    errors = []
    for model in apps.get_models():
        if is_context_model(model):
            continue  # its rows are on both sides
        for field in (*model._meta.local_fields, *model._meta.local_many_to_many):
            target = field.related_model if field.is_relation else None
            if isinstance(target, type) and not _may_point(model, target):
                errors.append(_relation_error(model, field, target))
    return errors


def _may_point(model, target):
    if is_context_model(target):
        return True
    if is_tenant_model(model):
        copied = {settings.AUTH_USER_MODEL.lower(), *COPIED_MODELS}
        return is_tenant_model(target) or target._meta.concrete_model._meta.label_lower in copied
    return not is_tenant_model(target)


def _relation_error(model, field, target):
    inside = is_tenant_model(model)
    sides = ("a tenant's object", "D1") if inside else ("D1", "tenants' objects")
    return Error(
        f"{model._meta.label}.{field.name} points from {sides[0]} to {target._meta.label} in "
        f"{sides[1]}. A foreign key cannot point to another database.",
        hint="Store the other row's key in a plain field, or make both or neither a tenant model "
        "(DO_BRIDGE['TENANT_MODELS']). A tenant model may refer to the user model, because each tenant "
        "has copies of its users.",
        obj=model,
        id="do_bridge.E010" if inside else "do_bridge.E011",
    )


@register()
def check_directory_models(app_configs=None, **kwargs):
    """Refuse tenant models that are needed to log in or to find a tenant."""
    if tenant_databases() is None or not _templates():
        return []
    names = [settings.AUTH_USER_MODEL, conf("TENANT_MODEL"), "sessions.Session", "do_bridge_sessions.Session"]
    return [
        Error(
            f"{name} is a tenant model, but it is needed before the tenant is known.",
            hint="Remove it from DO_BRIDGE['TENANT_MODELS'] and DO_BRIDGE['CONTEXT_MODELS'].",
            id="do_bridge.E012",
        )
        for name in names
        if _is_installed(name) and follows_context(apps.get_model(name))
    ]


@register()
def check_sites(app_configs=None, **kwargs):
    """Refuse django.contrib.sites in tenants.

    Django caches its rows for the whole process.
    """
    if tenant_databases() is None or not _templates() or not _is_installed("sites.Site"):
        return []
    if not follows_context(apps.get_model("sites.Site")):
        return []
    return [
        Error(
            "sites.Site is a tenant model, but Django caches sites by id for all tenants of a process.",
            hint="Remove it from DO_BRIDGE['TENANT_MODELS'], and store a tenant's domain in a model of "
            "your own.",
            id="do_bridge.E015",
        )
    ]


def _is_installed(name):
    try:
        apps.get_model(name)
    except (LookupError, ValueError):
        return False
    return True


@register()
def check_guards(app_configs=None, **kwargs):
    """Refuse a project in which another package has replaced a check."""
    if tenant_databases() is None or not (names := patches.missing()):
        return []
    message, hint = patches.explain(names)
    return [Error(message, hint=hint, id="do_bridge.E014")]


@register()
def check_messages(app_configs=None, **kwargs):
    """Warn of Django's own message storages.

    The next page of any tenant would show their messages.
    """
    if tenant_databases() is None or not apps.is_installed("django.contrib.messages"):
        return []
    if not settings.MESSAGE_STORAGE.startswith("django.contrib.messages."):
        return []
    return [
        Warning(
            "MESSAGE_STORAGE is Django's own, which shows a message of one tenant on the next page "
            "of another.",
            hint="Set it to 'do_bridge.contrib.messages.TenantCookieStorage'.",
            id="do_bridge.W012",
        )
    ]


@register(Tags.caches)
def check_caches(app_configs=None, **kwargs):
    """Warn of caches that tenants share, and of sessions in tenants' caches."""
    if tenant_databases() is None or not _templates():
        return []
    found = [
        Warning(
            f"The cache {alias!r} has no KEY_FUNCTION, so all tenants read the same entries.",
            hint=f"Set KEY_FUNCTION to {TENANT_KEY!r}, or to {DIRECTORY_KEY!r} for a cache that all tenants "
            "share.",
            id="do_bridge.W009",
        )
        for alias, values in settings.CACHES.items()
        if not values.get("KEY_FUNCTION") and values.get("BACKEND") != DUMMY_CACHE
    ]
    sessions = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {})
    if settings.SESSION_ENGINE in CACHED_SESSIONS and is_by_tenant(sessions.get("KEY_FUNCTION")):
        found.append(
            Error(
                "The cache that holds the sessions has keys for each tenant, so a user who logs "
                "out of one tenant stays logged in to the others.",
                hint="Set SESSION_CACHE_ALIAS to a cache of its own with the KEY_FUNCTION "
                f"{DIRECTORY_KEY!r}.",
                id="do_bridge.E013",
            )
        )
    return found


@register(Tags.models)
def check_queues(app_configs=None, **kwargs):
    """Warn of a task queue in D1.

    Two workers may run the same task.
    """
    return [
        Warning(
            f"The tables of {config.name!r} are in D1 ({alias!r}), where two workers may run the "
            f"same task: {QUEUES[config.name][0]} relies on a transaction, and D1 has none.",
            hint="Set OPTIONS['transactions'] to 'optimistic', or run only one worker. Or keep these tables "
            "in a Durable Object: add an alias with the engine 'do_bridge.backends.durable_object' and a "
            "NAME, and a router that sends the models there.",
            obj=config,
            id="do_bridge.W011",
        )
        for config in apps.get_app_configs()
        if config.name in QUEUES and (alias := _alias_in_d1(config)) is not None
    ]


def _alias_in_d1(config):
    """Return the alias of an application's rows if it is D1's, else None."""
    try:
        alias = router.db_for_write(config.get_model(QUEUES[config.name][1]))
    except (LookupError, NoTenant):
        return None  # an application of the same name, or one whose tables belong to tenants
    values = _plain_databases().get(alias, {})
    return alias if values.get("ENGINE") == D1_ENGINE and not _is_optimistic(values) else None
