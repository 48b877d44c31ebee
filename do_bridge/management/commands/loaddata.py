"""Django's loaddata, which loads into this package's engines in bulk, all or nothing."""

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

# Receivers of fewer objects are through before any lease ends.
MANY = 500


class Command(loaddata.Command):
    """An alias of any other engine is loaded as Django does it."""

    #: The Load that takes the objects, None where Django saves them.
    _load = None
    _fixture = None
    _stdin = None

    def handle(self, *fixture_labels, **options):
        connection = connections[options["database"]]
        if not isinstance(connection, DatabaseWrapper):
            return super().handle(*fixture_labels, **options)
        connection.ensure_connection()
        if getattr(connection.connection, "batch", None) is not None:
            # The block of do_bridge.batch() around this sends the rows with its own.
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
        """Django's, with a note of the file that is read, and standard input that can be read twice."""
        formats = {
            name: (self._noting(opener), mode) for name, (opener, mode) in super().compression_formats.items()
        }
        return {**formats, "stdin": (self._noting(self._open_stdin), None)}

    def _noting(self, opener):
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
        self._announce()
        self._load.write()
        if self.loaded_object_count > 0:
            self.reset_sequences(connections[self.using], self.models)
        self._tell()

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
        """Raise CommandError for a tenants' model on the way into the table of D1 that nobody reads."""
        if (
            tenant_databases() is not None
            and self.using == conf("DIRECTORY_ALIAS")
            and is_tenant_model(model)
        ):
            raise CommandError(
                f"The rows of {model._meta.label} belong into a tenant's database, not into {self.using!r}. "
                "Nothing was loaded. Name a tenant: --database tenant/<slug>"
            )

    def _warn_of_unseen(self, model):
        """Warn of a model whose rows are read from D1 alone, on the way into a tenant's database."""
        if is_tenant_side(self.using) and model._meta.concrete_model not in _models_of_tenants():
            told = (
                f"The rows of {model._meta.label} are read from the shared database, so those in "
                f"{self.using!r} are never seen. Load them with --database {conf('DIRECTORY_ALIAS')}."
            )
            self.stderr.write(self.style.WARNING(told))

    def _announce(self):
        names, count = self._load.receivers(), self.loaded_object_count
        if not names or count < MANY or not connections[self.using].features.can_rollback_ddl:
            return
        self.stderr.write(
            self.style.WARNING(
                f"Receivers of {', '.join(names)} run for these {count} objects inside one transaction of "
                f"{self.using!r}. If they run queries it may end with its lease: raise OPTIONS['lease']."
            )
        )

    def _tell(self):
        if self.verbosity < 1:
            return
        count, total = self.loaded_object_count, self.fixture_object_count
        of_all = "" if count == total else f" (of {total})"
        self.stdout.write(f"Installed {count} object(s){of_all} from {self.fixture_count} fixture(s)")


def _models_of_tenants():
    """Return the tenants' models, and those whose rows they may point at: copies of users and the like."""
    left = [model for model in apps.get_models() if follows_context(model)]
    found = set()
    while left:
        model = left.pop()._meta.concrete_model
        if model not in found:
            found.add(model)
            fields = (*model._meta.concrete_fields, *model._meta.many_to_many)
            left += [field.remote_field.model for field in fields if field.remote_field]
    return found
