"""Django's loaddata command, which loads in bulk, all or nothing."""

import io
import sys

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import loaddata
from django.core.management.utils import parse_apps_and_model_labels
from django.db import connections, router, transaction
from django.utils.functional import cached_property

from do_bridge.backends.remote_sqlite.base import DatabaseWrapper
from do_bridge.backends.remote_sqlite.fixtures import Load, NeedsDjango
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.sides import follows_context, is_tenant_model
from do_bridge.tenancy.slugs import is_tenant_side

# Receivers for fewer objects finish well before a lease ends.
MANY = 500


class Command(loaddata.Command):
    """Load in bulk on this package's engines, and as Django does on others."""

    #: The Load that collects the objects, or None if Django saves them.
    _load = None
    _fixture = None
    _stdin = None

    def handle(self, *fixture_labels, **options):
        connection = connections[options["database"]]
        if not isinstance(connection, DatabaseWrapper):
            return super().handle(*fixture_labels, **options)
        connection.ensure_connection()
        if getattr(connection.connection, "batch", None) is not None:
            # A do_bridge.batch() block around the command sends the rows with its own.
            return super().handle(*fixture_labels, **options)
        try:
            self._load_in_bulk(fixture_labels, options)
        except NeedsDjango:
            self._load = None
            return super().handle(*fixture_labels, **options)
        if transaction.get_autocommit(self.using):
            connection.close()
        return None

    def _load_in_bulk(self, fixture_labels, options):
        self.ignore = options["ignore"]
        self.using = options["database"]
        self.app_label = options["app_label"]
        self.verbosity = options["verbosity"]
        self.excluded_models, self.excluded_apps = parse_apps_and_model_labels(options["exclude"])
        self.format = options["format"]
        self._load = Load(self.using)
        self.loaddata(fixture_labels)

    @cached_property
    def compression_formats(self):
        """Record which file is being read, and let standard input be read twice."""
        formats = {
            name: (self._recording(opener), mode)
            for name, (opener, mode) in super().compression_formats.items()
        }
        return {**formats, "stdin": (self._recording(self._open_stdin), None)}

    def _recording(self, opener):
        def open_fixture(name, *args):
            self._fixture = name
            return opener(name, *args)

        return open_fixture

    def _open_stdin(self, *args):
        if self._stdin is None:
            self._stdin = sys.stdin.read()
        return io.StringIO(self._stdin)

    def loaddata(self, fixture_labels):
        if self._load is None:
            super().loaddata(fixture_labels)
            return
        self.serialization_formats = loaddata.serializers.get_public_serializer_formats()
        self.fixture_count = self.loaded_object_count = self.fixture_object_count = 0
        self.models = set()
        if not any(self.find_fixtures(label) for label in fixture_labels):
            return
        with self._load.reading():
            for label in fixture_labels:
                self.load_label(label)
            self._load.resolve()
        self._warn_of_receivers()
        self._load.write()
        if self.loaded_object_count > 0:
            self.reset_sequences(connections[self.using], self.models)
        self._write_counts()

    def save_obj(self, obj):
        if self._load is None:
            return super().save_obj(obj)
        model = type(obj.object)
        if model._meta.app_config in self.excluded_apps or model in self.excluded_models:
            return False
        if not router.allow_migrate_model(self.using, model):
            return False
        if model not in self.models:
            self._refuse_unseen(model)
            self._warn_of_unseen(model)
        self.models.add(model)
        self._load.add(obj, self._fixture)
        return True

    def _refuse_unseen(self, model):
        """Raise CommandError for a tenant model, whose table in D1 is never read."""
        if (
            tenant_databases() is not None
            and self.using == conf("DIRECTORY_ALIAS")
            and is_tenant_model(model)
        ):
            raise CommandError(
                f"The rows of {model._meta.label} belong in a tenant's database, not in {self.using!r}. "
                "Nothing was loaded. Name the tenant with --database tenant/<slug>."
            )

    def _warn_of_unseen(self, model):
        """Warn if rows that are read only from D1 are loaded into a tenant's database."""
        if is_tenant_side(self.using) and model._meta.concrete_model not in _models_of_tenants():
            warning = (
                f"The rows of {model._meta.label} are read only from the shared database, so rows in "
                f"{self.using!r} have no effect. Load them with --database {conf('DIRECTORY_ALIAS')}."
            )
            self.stderr.write(self.style.WARNING(warning))

    def _warn_of_receivers(self):
        names, count = self._load.receivers(), self.loaded_object_count
        if not names or count < MANY or not connections[self.using].features.can_rollback_ddl:
            return
        self.stderr.write(
            self.style.WARNING(
                f"Receivers of {', '.join(names)} run for these {count} objects inside one transaction of "
                f"{self.using!r}. If they run queries, the transaction may exceed its lease. In that case "
                "raise OPTIONS['lease'], or load the fixture in several parts."
            )
        )

    def _write_counts(self):
        if self.verbosity < 1:
            return
        count, total = self.loaded_object_count, self.fixture_object_count
        of_all = "" if count == total else f" (of {total})"
        self.stdout.write(f"Installed {count} object(s){of_all} from {self.fixture_count} fixture(s)")


def _models_of_tenants():
    """Return the tenant models and all models that they refer to."""
    left = [model for model in apps.get_models() if follows_context(model)]
    found = set()
    while left:
        model = left.pop()._meta.concrete_model
        if model not in found:
            found.add(model)
            fields = (*model._meta.concrete_fields, *model._meta.many_to_many)
            left += [field.remote_field.model for field in fields if field.remote_field]
    return found
