"""Django's dumpdata, which says where the rows of tenants' models are."""

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import dumpdata

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.sides import is_tenant_model


class Command(dumpdata.Command):
    """Refuses the tenants' template, and warns of models whose rows are not in the shared database."""

    def handle(self, *app_labels, **options):
        databases = tenant_databases()
        if databases is None or options["database"] not in (databases.template, conf("DIRECTORY_ALIAS")):
            return super().handle(*app_labels, **options)
        labels = "".join(f" {label}" for label in app_labels)
        way = (
            f"Dump one of them with `manage.py tenant_command SLUG dumpdata{labels}`, all of them with "
            f"`manage.py all_tenants_command dumpdata{labels}`."
        )
        if options["database"] == databases.template:
            raise CommandError(
                f"{databases.template!r} is the template of the tenants' databases, and has no rows. {way}"
            )
        if names := _tenant_models(app_labels, options["exclude"]):
            told = f"The rows of {', '.join(names)} are in the tenants' databases, not in this dump. {way}"
            self.stderr.write(self.style.WARNING(told))
        return super().handle(*app_labels, **options)


def _tenant_models(labels, excluded):
    """Return the names of the tenants' models that a dump with these arguments takes."""
    wanted, left_out = ({label.lower() for label in given} for given in (labels, excluded))
    return sorted(
        model._meta.label
        for model in apps.get_models()
        if is_tenant_model(model) and (not wanted or wanted & _names(model)) and not left_out & _names(model)
    )


def _names(model):
    return {model._meta.app_label, model._meta.label_lower}
