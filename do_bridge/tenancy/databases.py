"""DATABASES with an alias for each tenant, made on demand from one template."""

import threading
from collections import OrderedDict
from copy import deepcopy
from weakref import WeakValueDictionary

from django.apps import apps
from django.db import connections
from django.test import utils as test_utils

from do_bridge import django_compat

from .conf import conf
from .linking import link_blocks
from .slugs import SCRATCH_PREFIX, alias_slug, is_tenant_side, object_name, tenant_alias, validate_slug

DURABLE_OBJECT_ENGINE = "do_bridge.backends.durable_object"


class _Derived(dict):
    """One tenant's settings; a plain dict could not be referenced weakly."""

    __slots__ = ("__weakref__", "is_named_by_others")

    def __init__(self, values):
        super().__init__(values)
        self.is_named_by_others = False

    def __setitem__(self, key, value):
        # A test runner gives an alias a test database of its own, and takes that one away later.
        self.is_named_by_others = self.is_named_by_others or key == "NAME"
        super().__setitem__(key, value)

    def rename(self, name):
        """Follow the template, unless somebody else has named this alias's database."""
        if not self.is_named_by_others:
            super().__setitem__("NAME", name)


class _Template(dict):
    """The template's settings: tells the aliases made from it when a test run changes its name."""

    def __init__(self, values, renamed):
        super().__init__(values)
        self._renamed = renamed

    def __setitem__(self, key, value):
        changed = key == "NAME" and self.get("NAME") != value
        super().__setitem__(key, value)
        if changed:
            self._renamed()

    def __reduce__(self):
        return dict, (dict(self),)


class TenantDatabases(dict):
    """A `DATABASES` dictionary that knows an alias "tenant/<slug>" for every valid slug.

    `databases` holds the plain aliases; `template` names the one that carries the tenants' settings and is
    never connected to. Looking up a slug that is not valid raises KeyError, and nothing is reached.
    Iterating gives the plain aliases, those registered by `register`, and those that are live in this thread.
    """

    def __init__(self, databases=(), *, template="tenant", **kwargs):
        super().__init__(databases, **kwargs)
        self.template = template
        self._lock = threading.RLock()
        self._registered = {}
        self._derived = WeakValueDictionary()
        self._local = threading.local()
        if template in self:
            super().__setitem__(template, _Template(self[template], self._rename_derived))
            # Before a module is imported that decorates its functions by @atomic.
            link_blocks()

    # Looking up

    def __missing__(self, alias):
        if self.template not in self or not is_tenant_side(alias):
            raise KeyError(alias)
        self._use_test_objects_in_tests()
        derived = self._derive(alias)
        self._note_live(alias)
        return derived

    def __contains__(self, alias):
        if super().__contains__(alias):
            return True
        return super().__contains__(self.template) and is_tenant_side(alias)

    def get(self, alias, default=None):
        """Return the settings of `alias`, or `default` when it is no alias."""
        try:
            return self[alias]
        except KeyError:
            return default

    def __iter__(self):
        # A list made at once: another thread may register a tenant while this one iterates.
        with self._lock:
            plain, registered = list(super().keys()), list(self._registered)
        testing = in_test_environment()
        if testing and self._template_is_test():
            plain.remove(self.template)
        # Test cases patch every alias that they see and undo it for every one that they see later: the two
        # must be the same, so a test run sees only the aliases that were registered before it.
        live = [] if testing else [alias for alias in self.live_aliases() if alias_slug(alias)]
        return iter(dict.fromkeys([*plain, *registered, *live]))

    def __eq__(self, other):
        return self is other or dict.__eq__(self, other)

    __hash__ = None

    def __repr__(self):
        return f"<{type(self).__name__}: {', '.join(super().keys())}; template {self.template!r}>"

    def __reduce__(self):
        return _restore, ({key: dict(value) for key, value in super().items()}, self.template)

    # Registering

    def register(self, slug):
        """Make the tenant `slug` visible to whoever iterates, in every thread; return its alias."""
        alias = tenant_alias(slug)
        with self._lock:
            self._registered[alias] = self._derive(alias)
        return alias

    def unregister(self, slug):
        """Undo `register`."""
        with self._lock:
            self._registered.pop(tenant_alias(slug), None)

    def scratch_alias(self, name):
        """Return the alias of the scratch object `name`; no command and no iteration shows it."""
        return SCRATCH_PREFIX + validate_slug(name)

    # Live connections

    def live_aliases(self):
        """Return the tenant-side aliases with a wrapper in this thread, least recently used first."""
        return [alias for alias in self._live() if hasattr(connections._connections, alias)]

    def touch(self, alias):
        """Mark `alias` as used just now in this thread."""
        live = self._live()
        if alias in live:
            live.move_to_end(alias)

    def release(self, alias):
        """Close and forget this thread's connection to a tenant, where it has one that is not in a block."""
        if alias in self._live():
            self._discard(alias)

    def _live(self):
        if not hasattr(self._local, "live"):
            self._local.live = OrderedDict()
        return self._local.live

    def _note_live(self, alias):
        live = self._live()
        live[alias] = None
        live.move_to_end(alias)
        excess = len(live) - conf("MAX_TENANT_CONNECTIONS")
        for candidate in list(live)[:-1]:
            if excess <= 0:
                break
            if self._discard(candidate):
                excess -= 1

    def _discard(self, alias):
        """Forget this thread's wrapper for `alias`; not one registered or with an open transaction."""
        if alias in self._registered:
            return False
        connection = getattr(connections._connections, alias, None)
        if connection is not None:
            if connection.in_atomic_block or getattr(connection.connection, "in_transaction", False):
                return False
            # Else each wrapper that comes and goes leaves a name of its own behind, a row in the object.
            if hasattr(connection.connection, "rest"):
                connection.connection.rest()
            # Not closed: a cursor that somebody still reads from keeps it, and it holds nothing else open.
            del connections[alias]
        self._live().pop(alias, None)
        if apps.is_installed("django.contrib.contenttypes"):
            # The manager remembers content types for each alias, and never forgets one.
            apps.get_model("contenttypes", "ContentType").objects._cache.pop(alias, None)
        return True

    # Deriving

    def _derive(self, alias):
        with self._lock:
            derived = self._derived.get(alias)
            if derived is None:
                template = super().__getitem__(self.template)
                derived = _Derived(deepcopy(dict(template)))
                derived.rename(object_name(alias, template.get("NAME") or ""))
                # Without dependencies, a test run may use a tenant's object alone.
                derived["TEST"] = {**derived.get("TEST", {}), "NAME": None, "DEPENDENCIES": []}
                self._derived[alias] = derived
            return derived

    def _use_test_objects_in_tests(self):
        """Give the template its test name: a test run that lists no tenant's alias does not."""
        if not in_test_environment() or self._template_is_test():
            return
        creation = connections[self.template].creation
        if getattr(creation, "is_template", lambda: False)():
            creation.create_test_db(**django_compat.without_serialization(verbosity=0))

    def _template_is_test(self):
        return bool(super().__contains__(self.template) and super().__getitem__(self.template).get("NAME"))

    def _rename_derived(self):
        """Give every alias made from the template the object that the template's new name asks for."""
        prefix = super().__getitem__(self.template).get("NAME") or ""
        with self._lock:
            for alias, derived in list(self._derived.items()):
                derived.rename(object_name(alias, prefix))
        for alias in self.live_aliases():
            connections[alias].close()


def in_test_environment():
    """Say whether Django's test environment is set up in this process."""
    return hasattr(test_utils._TestState, "saved_data")


def _restore(databases, template):
    return TenantDatabases(databases, template=template)


def tenant_databases():
    """Return the TenantDatabases that the project is configured with, or None."""
    databases = connections.settings
    return databases if isinstance(databases, TenantDatabases) else None


def register_tenant(slug):
    """Make "tenant/<slug>" visible to `connections`, `--database` and test cases; return the alias."""
    validate_slug(slug)
    databases = tenant_databases()
    if databases is None:
        raise TypeError("DATABASES is a plain dict: wrap it in do_bridge.tenancy.TenantDatabases.")
    return databases.register(slug)


def register_from_arguments(arguments):
    """Register the tenants that a command line names by `--database`, before its parser is built.

    Returns their slugs.
    """
    databases, slugs = tenant_databases(), set()
    if databases is None:
        return slugs
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != "--database":
            continue
        if not equals:
            value = arguments[position + 1] if position + 1 < len(arguments) else ""
        slug = alias_slug(value)
        if slug is not None:
            databases.register(slug)
            slugs.add(slug)
    return slugs
