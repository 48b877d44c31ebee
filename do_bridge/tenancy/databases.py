"""A DATABASES dictionary that creates tenants' aliases from a template."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from weakref import WeakValueDictionary

from django.apps import apps
from django.db import connections

from do_bridge import django_compat
from do_bridge.backends.environment import in_test_environment

from .conf import conf
from .linking import link_blocks
from .places import follow, jurisdiction_of
from .slugs import (
    TEMPLATE_OBJECT_PREFIX,
    alias_slug,
    is_tenant_side,
    object_name,
    tenant_alias,
    validate_slug,
)

DURABLE_OBJECT_ENGINE = "do_bridge.backends.durable_object"


class _Derived(dict):
    """The settings of one tenant.

    A subclass of dict, because a plain dict has no weak references.
    """

    __slots__ = ("__weakref__", "alias", "is_named_by_others", "slug")

    def __init__(self, alias, values):
        super().__init__(values)
        self.alias, self.slug = alias, alias_slug(alias)
        self.is_named_by_others = False

    def __setitem__(self, key, value):
        # A test runner sets the name of an alias's test database, and resets it later.
        self.is_named_by_others = self.is_named_by_others or key == "NAME"
        super().__setitem__(key, value)

    def jurisdiction(self):
        """Return the jurisdiction of the tenant's object, for a new connection."""
        return jurisdiction_of(self.alias)

    def follow(self, connection):
        """Send what follows on an open driver connection to the tenant's object."""
        follow(connection, self.slug)

    def rename(self, name):
        """Set NAME after the template's, unless a test runner has set it for this alias."""
        if not self.is_named_by_others:
            super().__setitem__("NAME", name)


class _Template(dict):
    """The settings of the template.

    They rename the derived aliases if a test run changes NAME.
    """

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


class TenantDatabases(dict[str, Any]):
    """A `DATABASES` dictionary with an alias "tenant/<slug>" for every valid slug.

    `databases` contains the plain aliases. `template` is the alias with the settings for all tenants; nothing
    connects to it. An alias with an invalid slug raises KeyError. Iterating yields the plain aliases, those
    registered with `register`, and those with an open connection in this thread.
    """

    def __init__(
        self,
        databases: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        template: str = "tenant",
        **kwargs: Any,
    ) -> None:
        super().__init__(databases, **kwargs)
        self.template = template
        self._lock = threading.RLock()
        self._registered = {}
        self._derived = WeakValueDictionary()
        self._local = threading.local()
        if template in self:
            super().__setitem__(template, _Template(self[template], self._rename_derived))
            # This must run before a module is imported that uses @atomic as a decorator.
            link_blocks()

    # Looking up

    def __missing__(self, alias: str) -> Any:
        if self.template not in self or not is_tenant_side(alias):
            raise KeyError(alias)
        self._use_test_objects_in_tests()
        derived = self._derive(alias)
        self._note_live(alias)
        return derived

    def __contains__(self, alias: object) -> bool:
        if super().__contains__(alias):
            return True
        return super().__contains__(self.template) and is_tenant_side(alias)

    def get(self, alias: str, default: Any = None) -> Any:
        """Return the settings of `alias`, or `default` for an unknown alias."""
        try:
            return self[alias]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        # Copied first, because another thread may register a tenant during the iteration.
        with self._lock:
            plain, registered = list(super().keys()), list(self._registered)
        testing = in_test_environment()
        if testing and self._template_is_test():
            plain.remove(self.template)
        # Test cases patch all aliases and later restore all aliases. Both lists must be equal, so a test run
        # sees only the aliases that were registered before it.
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

    def register(self, slug: str) -> str:
        """Include the tenant in iterations, in all threads, and return its alias.

        Raises InvalidSlug.
        """
        alias = tenant_alias(slug)
        with self._lock:
            self._registered[alias] = self._derive(alias)
        return alias

    def unregister(self, slug: str) -> None:
        """Undo `register`."""
        with self._lock:
            self._registered.pop(tenant_alias(slug), None)

    def template_object_alias(self, name: str) -> str:
        """Return the alias of the template object `name`.

        No command and no iteration shows it.
        """
        return TEMPLATE_OBJECT_PREFIX + validate_slug(name)

    # Live connections

    def live_aliases(self) -> list[str]:
        """Return the tenants' aliases with a connection in this thread.

        The least recently used alias comes first.
        """
        return [alias for alias in self._live() if hasattr(connections._connections, alias)]

    def touch(self, alias: str) -> None:
        """Mark `alias` as used just now in this thread."""
        live = self._live()
        if alias in live:
            live.move_to_end(alias)

    def release(self, alias: str) -> None:
        """Close this thread's connection to a tenant, unless in a transaction."""
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
        """Forget this thread's connection to `alias`; return whether it did.

        A registered alias, and one with an open transaction, are kept.
        """
        if alias in self._registered:
            return False
        connection = getattr(connections._connections, alias, None)
        if connection is not None:
            if connection.in_atomic_block or getattr(connection.connection, "in_transaction", False):
                return False
            # Otherwise each forgotten wrapper would leave a row with its client name in the object.
            if hasattr(connection.connection, "rest"):
                connection.connection.rest()
            # Not closed, because a cursor may still read from it, and it keeps no socket open.
            del connections[alias]
        self._live().pop(alias, None)
        if apps.is_installed("django.contrib.contenttypes"):
            # The manager caches content types for each alias and never removes them.
            apps.get_model("contenttypes", "ContentType").objects._cache.pop(alias, None)
        return True

    # Deriving

    def _derive(self, alias):
        with self._lock:
            derived = self._derived.get(alias)
            if derived is None:
                template = super().__getitem__(self.template)
                derived = _Derived(alias, deepcopy(dict(template)))
                derived.rename(object_name(alias, template.get("NAME") or ""))
                # Without dependencies, a test run may use only a tenant's database.
                derived["TEST"] = {**derived.get("TEST", {}), "NAME": None, "DEPENDENCIES": []}
                self._derived[alias] = derived
            return derived

    def _use_test_objects_in_tests(self):
        """Set the template's test name.

        A test run without a tenant's alias does not set it.
        """
        if not in_test_environment() or self._template_is_test():
            return
        creation = connections[self.template].creation
        if getattr(creation, "is_template", lambda: False)():
            creation.create_test_db(**django_compat.without_serialization(verbosity=0))

    def update_tenants(self, values: Mapping[str, Any]) -> None:
        """Change settings of the template and of every alias made from it.

        A test run uses it.
        """
        with self._lock:
            for settings in (super().__getitem__(self.template), *self._derived.values()):
                settings.update(deepcopy(dict(values)))
        for alias in self.live_aliases():
            connections[alias].close()

    def _template_is_test(self):
        return bool(super().__contains__(self.template) and super().__getitem__(self.template).get("NAME"))

    def _rename_derived(self):
        """Rename the databases of all derived aliases after the template's new name."""
        prefix = super().__getitem__(self.template).get("NAME") or ""
        with self._lock:
            for alias, derived in list(self._derived.items()):
                derived.rename(object_name(alias, prefix))
        for alias in self.live_aliases():
            connections[alias].close()


def _restore(databases, template):
    return TenantDatabases(databases, template=template)


def tenant_databases() -> TenantDatabases | None:
    """Return the project's TenantDatabases, or None if DATABASES is a plain dict."""
    databases = connections.settings
    return databases if isinstance(databases, TenantDatabases) else None


def register_tenant(slug: str) -> str:
    """Make "tenant/<slug>" visible to `connections`, `--database` and test cases.

    Returns the alias. Raises InvalidSlug, and TypeError if DATABASES is a plain dict.
    """
    validate_slug(slug)
    databases = tenant_databases()
    if databases is None:
        raise TypeError(
            "DATABASES is a plain dict, which has no aliases for tenants. Write DATABASES = "
            "TenantDatabases({…}), imported from do_bridge.tenancy."
        )
    return databases.register(slug)


def register_from_arguments(arguments):
    """Register the tenants after `--database` in a command line.

    Returns their slugs. This must happen before the command's parser is built, because its choices are the
    known aliases.
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
